#pragma once
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "wasi/core/scalar.hpp"

namespace wasi::pictures {

/// Threads that work in the background, beside those that compute. Work is a number of independent pieces, each with a
/// result of its own, so nothing depends on who did what when. Thread safety: every call may come from any thread.
class Workers {
public:
    /// Pieces of work that were begun. A handle: whoever has it may wait.
    class Job {
    public:
        Job(Index count, std::function<void(Index)> body) : count_(count), body_(std::move(body)) {}

    private:
        friend class Workers;

        /// Until none is left.
        void run()
        {
            for (Index piece = next_++; piece < count_; piece = next_++) {
                std::exception_ptr failure;
                try {
                    body_(piece);
                } catch (...) {
                    failure = std::current_exception();
                }
                const std::lock_guard lock(mutex_);
                if (failure && piece < failed_) {
                    failed_ = piece;
                    failure_ = failure;
                }
                if (++done_ == count_) {
                    all_done_.notify_all();
                }
            }
        }
        [[nodiscard]] bool begun_all() const { return next_ >= count_; }

        const Index count_;
        const std::function<void(Index)> body_;
        std::atomic<Index> next_{0};
        std::mutex mutex_;
        std::condition_variable all_done_;
        Index done_ = 0;
        Index failed_ = std::numeric_limits<Index>::max();
        std::exception_ptr failure_;
    };

    /// With 0 threads work is done by whoever waits for it.
    explicit Workers(Index threads)
    {
        for (Index i = 0; i < threads; ++i) {
            threads_.emplace_back([this] { work(); });
        }
    }
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;
    /// What was begun and nobody waits for is left.
    ~Workers()
    {
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
            jobs_.clear();
        }
        more_.notify_all();
        for (std::thread& thread : threads_) {
            thread.join();
        }
    }

    [[nodiscard]] Index count() const { return static_cast<Index>(threads_.size()); }

    /// Begins body(0) .. body(count - 1). The body must own what it uses, unless the caller waits.
    [[nodiscard]] std::shared_ptr<Job> begin(Index count, std::function<void(Index)> body)
    {
        auto job = std::make_shared<Job>(count, std::move(body));
        if (!threads_.empty() && count > 0) {
            const std::lock_guard lock(mutex_);
            jobs_.push_back(job);
            more_.notify_all();
        }
        return job;
    }

    /// Does what nobody has begun, and waits for the rest. Throws what the failed piece with the smallest number threw,
    /// again each time it is asked.
    static void finish(Job& job)
    {
        job.run();
        std::unique_lock lock(job.mutex_);
        job.all_done_.wait(lock, [&] { return job.done_ == job.count_; });
        if (job.failure_) {
            std::rethrow_exception(job.failure_);
        }
    }

    /// Both.
    void run(Index count, std::function<void(Index)> body) { finish(*begin(count, std::move(body))); }

private:
    void work()
    {
        std::unique_lock lock(mutex_);
        while (true) {
            more_.wait(lock, [&] { return ending_ || !jobs_.empty(); });
            if (ending_) {
                return;
            }
            std::shared_ptr<Job> job = jobs_.front();
            if (job->begun_all()) {
                jobs_.pop_front();
                continue;
            }
            lock.unlock();
            job->run();
            job.reset();
            lock.lock();
        }
    }

    std::mutex mutex_;
    std::condition_variable more_;
    std::deque<std::shared_ptr<Job>> jobs_;
    bool ending_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace wasi::pictures
