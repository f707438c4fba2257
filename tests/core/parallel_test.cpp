#include <doctest/doctest.h>

#include <atomic>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <wasi/core/parallel.hpp>

namespace {

using wasi::Index;

/// Restores the number of threads at the end of a test.
class ThreadCount {
public:
    explicit ThreadCount(int threads) : before_(wasi::thread_count()) { wasi::set_thread_count(threads); }
    ~ThreadCount() { wasi::set_thread_count(before_); }
    ThreadCount(const ThreadCount&) = delete;
    ThreadCount& operator=(const ThreadCount&) = delete;

private:
    int before_;
};

TEST_CASE("set_thread_count is what thread_count says, and refuses less than one")
{
    const ThreadCount restore(1);
    CHECK(wasi::thread_count() == 1);
#ifdef _OPENMP
    wasi::set_thread_count(3);
    CHECK(wasi::thread_count() == 3);
#endif
    CHECK_THROWS_AS(wasi::set_thread_count(0), wasi::argument_error);
    CHECK_THROWS_AS(wasi::set_thread_count(-2), wasi::argument_error);
}

TEST_CASE("parallel_for calls its body once for every index, for any number of threads")
{
    for (const int threads : {1, 2, 5}) {
        const ThreadCount restore(threads);
        for (const Index count : {0, 1, 2, 3, 1000}) {
            std::vector<std::atomic<int>> calls(static_cast<std::size_t>(count));
            wasi::parallel_for(count, [&](Index i) { ++calls[static_cast<std::size_t>(i)]; });
            int wrong = 0;
            for (const auto& call : calls) {
                wrong += call == 1 ? 0 : 1;
            }
            CHECK(wrong == 0);
        }
    }
}

TEST_CASE("inside a body one thread is found, and the setting comes back")
{
    const ThreadCount restore(3);
#ifdef _OPENMP
    const int expected = 3;
#else
    const int expected = 1;
#endif
    for (const Index count : {1, 8}) {
        std::atomic<int> most = 0;
        wasi::parallel_for(count, [&](Index) {
            int seen = most;
            while (wasi::thread_count() > seen && !most.compare_exchange_weak(seen, wasi::thread_count())) {
            }
        });
        CHECK(most == 1);
        CHECK(wasi::thread_count() == expected);
    }
}

TEST_CASE("SerialScope nests and restores")
{
    const ThreadCount restore(2);
    const int before = wasi::thread_count();
    {
        const wasi::SerialScope outer;
        CHECK(wasi::thread_count() == 1);
        {
            const wasi::SerialScope inner;
            CHECK(wasi::thread_count() == 1);
        }
        CHECK(wasi::thread_count() == 1);
    }
    CHECK(wasi::thread_count() == before);
}

TEST_CASE("a nested parallel_for runs every piece")
{
    const ThreadCount restore(3);
    std::vector<std::atomic<int>> calls(12 * 7);
    wasi::parallel_for(
        12, [&](Index i) { wasi::parallel_for(7, [&](Index j) { ++calls[static_cast<std::size_t>(i * 7 + j)]; }); });
    int wrong = 0;
    for (const auto& call : calls) {
        wrong += call == 1 ? 0 : 1;
    }
    CHECK(wrong == 0);
}

TEST_CASE("an exception in a body reaches the caller, and the next loop works")
{
    for (const int threads : {1, 3}) {
        const ThreadCount restore(threads);
        const int before = wasi::thread_count();
        CHECK_THROWS_WITH_AS(wasi::parallel_for(20,
                                                [](Index i) {
                                                    if (i == 11) {
                                                        throw wasi::shape_error("piece 11");
                                                    }
                                                }),
                             "piece 11", wasi::shape_error);
        // All of them fail: one is reported.
        CHECK_THROWS_AS(wasi::parallel_for(20, [](Index) { throw std::out_of_range("every piece"); }),
                        std::out_of_range);
        CHECK(wasi::thread_count() == before);
        std::atomic<int> calls = 0;
        wasi::parallel_for(20, [&](Index) { ++calls; });
        CHECK(calls == 20);
    }
}

}  // namespace
