// DryStorage takes the workspaces of EigenStorage and counts its flops, primitive by primitive, and touches nothing.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <support/engines.hpp>
#include <support/matrices.hpp>
#include <wasi/core/parallel.hpp>
#include <wasi/storage/dry.hpp>
#include <wasi/storage/eigen.hpp>

namespace {

using namespace wasi_tests;  // NOLINT(google-build-using-namespace)
using wasi::DryStorage;
using wasi::EigenStorage;
using wasi::Memory;
using wasi::WorstDryStorage;

/// What a primitive took and did.
struct Taken {
    std::size_t peak = 0;
    double flops = 0.0;
};

/// body(storage, memory) on a ledger of its own.
template <class S, class Body>
[[nodiscard]] Taken taken_by(const Body& body)
{
    wasi::Ledger ledger;
    body(S{}, ledger);
    CHECK(ledger.total().current == 0);
    return {ledger.total().peak, ledger.flops()};
}

template <class Body>
void check_equal(const Body& body)
{
    const Taken real = taken_by<EigenStorage>(body);
    const Taken dry = taken_by<DryStorage>(body);
    const Taken worst = taken_by<WorstDryStorage>(body);
    CHECK(dry.peak == real.peak);
    CHECK(dry.flops == real.flops);
    CHECK(worst.peak >= real.peak);
    CHECK(worst.flops >= real.flops);
}

/// For primitives whose need depends on their data.
template <class Body>
void check_worst(const Body& body)
{
    const Taken real = taken_by<EigenStorage>(body);
    const Taken worst = taken_by<WorstDryStorage>(body);
    CHECK(worst.peak >= real.peak);
    CHECK(worst.flops >= real.flops);
}

struct Size {
    Index rows;
    Index cols;
};
constexpr std::array tall{Size{1, 1},   Size{8, 3},     Size{40, 33},   Size{130, 97},
                          Size{300, 8}, Size{700, 110}, Size{2100, 20}, Size{3000, 97}};

[[nodiscard]] Matrix<double> symmetric(Index n, std::uint64_t seed)
{
    const auto half = random_matrix<double>(n, n, seed);
    Matrix<double> result(n, n);
    for (Index i = 0; i < n; ++i) {
        for (Index j = 0; j < n; ++j) {
            result.view()(i, j) = half.view()(i, j) + half.view()(j, i);
        }
    }
    return result;
}

TEST_CASE_TEMPLATE("dry storage: products", T, float, double)
{
    for (const Index m : {1, 16, 65, 128, 200}) {
        for (const Index n : {1, 8, 128, 130}) {
            for (const Index k : {1, 7, 2047, 2048, 2500}) {
                CAPTURE(m);
                CAPTURE(n);
                CAPTURE(k);
                const auto a = random_matrix<T>(m, k, 1);
                const auto b = random_matrix<T>(k, n, 2);
                for (const Layout layout : {row_major, col_major}) {
                    check_equal([&](auto storage, Memory& memory) {
                        Matrix<T> c(m, n, layout);
                        storage.multiply(c.view(), T(1), a.view(), b.view(), T(0), memory);
                    });
                }
            }
        }
    }
}

TEST_CASE_TEMPLATE("dry storage: Gram matrices", T, float, double)
{
    for (const Index m : {1, 50, 300, 4000}) {
        for (const Index n : {1, 20, 96, 97, 200}) {
            CAPTURE(m);
            CAPTURE(n);
            const auto a = random_matrix<T>(m, n, 3);
            check_equal([&](auto storage, Memory& memory) {
                Matrix<double> g(n, n);
                storage.gram(g.view(), 0.0, a.view(), memory);
            });
        }
    }
}

TEST_CASE_TEMPLATE("dry storage: decompositions", T, float, double)
{
    for (const Size& size : tall) {
        const Index m = size.rows;
        const Index n = size.cols;
        CAPTURE(m);
        CAPTURE(n);
        const auto a = random_matrix<T>(m, n, 4);
        check_equal([&](auto storage, Memory& memory) {
            Matrix<T> q = a;
            static_cast<void>(storage.orthonormalize(q.view(), memory));
        });
        if (n > 100) {
            continue;  // an SVD in double takes long
        }
        for (const bool wide : {false, true}) {
            check_equal([&](auto storage, Memory& memory) {
                Matrix<T> u(wide ? n : m, n);
                Matrix<T> v(wide ? m : n, n);
                std::vector<T> s(static_cast<std::size_t>(n));
                const auto from = wide ? a.view().transposed() : a.view();
                CHECK(storage.svd(from, u.view(), std::span(s), v.view(), memory));
            });
        }
    }
    for (const Index n : {1, 20, 60}) {
        const auto square = symmetric(n, 5);
        Matrix<T> narrow(n, n);
        EigenStorage::convert(narrow.view(), square.view());
        check_equal([&](auto storage, Memory& memory) {
            Matrix<T> vectors = narrow;
            std::vector<T> w(static_cast<std::size_t>(n));
            CHECK(storage.eigh(vectors.view(), std::span(w), memory));
        });
        for (const Index count : {Index{0}, Index{1}, n / 2, n}) {
            CAPTURE(count);
            check_equal([&](auto storage, Memory& memory) {
                Matrix<double> vectors = square;
                std::vector<double> w(static_cast<std::size_t>(n));
                const wasi::ChooseCount choose = [&](std::span<const double>) { return count; };
                CHECK(storage.eigh_leading(vectors.view(), std::span(w), choose, memory) == count);
            });
        }
    }
}

TEST_CASE_TEMPLATE("dry storage: CholeskyQR, two passes as usual, five at worst", T, float, double)
{
    for (const Size& size : tall) {
        const Index m = size.rows;
        const Index n = size.cols;
        CAPTURE(m);
        CAPTURE(n);
        const auto a = random_matrix<T>(m, n, 6);
        const auto run = [](const auto& columns) {
            return [&columns](auto storage, Memory& memory) {
                auto q = columns;
                static_cast<void>(storage.cholesky_orthonormalize(q.view(), memory));
            };
        };
        check_equal(run(a));
        auto dependent = a;  // the last column nearly the first
        for (Index i = 0; n > 1 && i < m; ++i) {
            dependent.view()(i, n - 1) = dependent.view()(i, 0) * (T(1) + wasi::epsilon<T> * static_cast<T>(i % 50));
        }
        check_worst(run(dependent));
    }
}

TEST_CASE_TEMPLATE("dry storage: systems", T, float, double)
{
    for (const Size& size : {Size{3, 2}, Size{40, 7}, Size{130, 200}}) {
        const Index m = size.rows;
        const Index n = size.cols;
        Matrix<T> a(m, m);
        for (Index i = 0; i < m; ++i) {
            for (Index j = 0; j < m; ++j) {
                a.view()(i, j) = i == j ? T(2) : T(0);
            }
        }
        const auto b = random_matrix<T>(m, n, 7);
        check_equal([&](auto storage, Memory& memory) {
            Matrix<T> left = a;
            Matrix<T> right = b;
            static_cast<void>(storage.solve_spd(left.view(), right.view(), memory));
        });
        check_equal([&](auto storage, Memory& memory) {
            Matrix<T> left = a;
            static_cast<void>(storage.cholesky(left.view(), memory));
        });
    }
}

TEST_CASE_TEMPLATE("dry storage: row kernels", T, float, double)
{
    for (const Size& size : {Size{1, 1}, Size{70, 3000}, Size{2000, 40}, Size{3, 70000}}) {
        const Index m = size.rows;
        const Index n = size.cols;
        const auto x = random_matrix<T>(m, n, 8);
        const auto row = random_vector<T>(n, 9);
        const auto column = random_vector<T>(m, 10);
        std::vector<T> first(static_cast<std::size_t>(n));
        std::vector<T> second(static_cast<std::size_t>(n));
        check_equal([&](auto storage, Memory& memory) { storage.column_sums(std::span(first), x.view(), memory); });
        check_equal([&](auto storage, Memory& memory) {
            Matrix<T> dx(m, n);
            storage.layer_norm_backward(dx.view(), std::span(first), std::span(second), x.view(), x.view(),
                                        std::span(column), std::span(column), std::span(row), memory);
        });
    }
}

/// A ledger for dry runs of a program with several threads.
class Listening final : public Memory {
public:
    explicit Listening(Index threads = 1) : threads_(threads) {}
    void* allocate(std::size_t bytes, wasi::Tag tag) override { return ledger.allocate(bytes, tag); }
    void release(void* block, std::size_t bytes, wasi::Tag tag) noexcept override { ledger.release(block, bytes, tag); }
    void rebook(std::size_t bytes, wasi::Tag from, wasi::Tag to) noexcept override { ledger.rebook(bytes, from, to); }
    void count_flops(double flops) noexcept override { ledger.count_flops(flops); }
    [[nodiscard]] std::ptrdiff_t concurrency() const noexcept override { return threads_; }
    void unbooked(std::size_t bytes) noexcept override { most = std::max(most, bytes); }
    wasi::Ledger ledger;
    std::size_t most = 0;

private:
    Index threads_;
};

TEST_CASE("dry storage: workspaces inside a parallel_for are booked as often as they may be alive at once")
{
    const int before = wasi::thread_count();
    constexpr Index m = 64;
    constexpr Index k = 3000;
    const auto a = random_matrix<float>(m, k, 1);
    const auto run = [&](auto storage, Memory& memory, Index calls, int threads) {
        wasi::set_thread_count(threads);
        wasi::parallel_for(calls, [&](Index) {
            Matrix<float> c(m, m);
            storage.multiply(c.view(), 1.0F, a.view(), a.view().transposed(), 0.0F, memory);
        });
        wasi::set_thread_count(before);
    };
    for (const Index calls : {1, 2, 16}) {
        for (const int threads : {1, 2, 3}) {
            wasi::Ledger real;
            wasi::Ledger alone;
            Listening dry(threads);
            run(EigenStorage{}, real, calls, threads);
            run(DryStorage{}, alone, calls, 1);
            run(DryStorage{}, dry, calls, 1);
            CHECK(dry.ledger.total().peak ==
                  static_cast<std::size_t>(std::min<Index>(calls, threads)) * alone.total().peak);
            CHECK(real.total().peak <= dry.ledger.total().peak);
        }
    }
    CHECK(wasi::parallel_width() == 1);
}

TEST_CASE("dry storage: tells what Eigen takes beside the books")
{
    Listening memory;
    Matrix<double> a(100, 100);
    std::vector<double> w(100);
    CHECK(DryStorage::eigh(a.view(), std::span(w), memory));
    CHECK(memory.most >= 2 * 100 * 100 * sizeof(double));  // the solver's copy and its vectors
}

}  // namespace
