#include <doctest/doctest.h>

#include <support/engines.hpp>
#include <support/matrices.hpp>
#include <wasi/linalg/factored.hpp>

namespace {

using wasi::Index;
using wasi::linalg::Factored;
using wasi_tests::tolerance;

/// ||P Qᵀ||_F² element by element, in double.
template <class T>
double product_squares(wasi::ConstMatrixView<T> p, wasi::ConstMatrixView<T> q)
{
    double sum = 0.0;
    for (Index i = 0; i < p.rows; ++i) {
        for (Index j = 0; j < q.rows; ++j) {
            double element = 0.0;
            for (Index k = 0; k < p.cols; ++k) {
                element += static_cast<double>(p(i, k)) * static_cast<double>(q(j, k));
            }
            sum += element * element;
        }
    }
    return sum;
}

TEST_CASE_TEMPLATE("factored: the norm is that of the product", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        for (const auto& layout : {wasi_tests::row_major, wasi_tests::col_major}) {
            for (const Index rank : {Index{1}, Index{5}, Index{20}}) {
                const auto p = wasi_tests::random_matrix<T>(17, rank, 2 * seed, layout);
                const auto q = wasi_tests::random_matrix<T>(11, rank, 2 * seed + 1);
                const Factored<T> m{p.view(), q.view()};
                CHECK(m.rows() == 17);
                CHECK(m.cols() == 11);
                CHECK(m.rank() == rank);
                const double truth = product_squares<T>(p.view(), q.view());
                const double scale = wasi_tests::frobenius_norm(p.view()) * wasi_tests::frobenius_norm(q.view());
                wasi::Ledger ledger;
                CHECK(std::abs(wasi::linalg::squared_norm<S>(m, ledger) - truth) <= tolerance<T>(28, scale * scale));
                CHECK(ledger.total().current == 0);
            }
        }
    }
}

TEST_CASE_TEMPLATE("factored: with orthonormal Q it is the norm of P, without workspace", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    const auto p = wasi_tests::random_matrix<T>(23, 4, 1);
    auto q = wasi_tests::random_matrix<T>(15, 4, 2);
    static_cast<void>(S::orthonormalize(q.view(), wasi::plain_memory()));
    const Factored<T> m{.p = p.view(), .q = q.view(), .q_orthonormal = true};
    wasi::Ledger ledger;
    const double squares = wasi::linalg::squared_norm<S>(m, ledger);
    CHECK(std::abs(squares - product_squares<T>(p.view(), q.view())) <= tolerance<T>(23, squares));
    CHECK(ledger.total().peak == 0);
}

}  // namespace
