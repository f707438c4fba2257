#include <doctest/doctest.h>

#include <Eigen/SparseCore>
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <wasi/core/random.hpp>
#include <wasi/linalg/sparse_operator.hpp>

/// Products of sparse matrices with thin dense ones: against sums in long double, whatever the storage.
namespace {

using wasi::Index;
using wasi::MatrixView;
using wasi::RandomKey;
using wasi::linalg::SparseOperator;

template <class T>
using Dense = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class T>
MatrixView<T> view(Dense<T>& a)
{
    return MatrixView<T>::row_major(a.data(), a.rows(), a.cols());
}

template <class T, int order>
Eigen::SparseMatrix<T, order> random_sparse(Index rows, Index cols, Index count)
{
    std::vector<Eigen::Triplet<T>> entries;
    for (Index i = 0; i < count; ++i) {
        const RandomKey key = RandomKey(7).derive(static_cast<std::uint64_t>(i));
        entries.emplace_back(static_cast<int>(key.below(0, rows)), static_cast<int>(key.below(1, cols)),
                             static_cast<T>(key.normal(2)));
    }
    Eigen::SparseMatrix<T, order> a(rows, cols);
    a.setFromTriplets(entries.begin(), entries.end());
    return a;
}

/// The largest error of A X and of Aᵀ X, in units of epsilon times the sum of magnitudes; both overwrite NaN.
template <class Sparse>
double worst_error(const Sparse& a, Index columns, Dense<typename Sparse::Scalar> (&products)[2])
{
    using T = typename Sparse::Scalar;
    const SparseOperator<Sparse> map(a);
    double worst = 0.0;
    for (const bool adjoint : {false, true}) {
        Dense<T> x = Dense<T>::Zero(adjoint ? a.rows() : a.cols(), columns);
        for (Index i = 0; i < x.size(); ++i) {
            x.data()[i] = static_cast<T>(RandomKey(8).normal(static_cast<std::uint64_t>(i)));
        }
        Dense<T> y = Dense<T>::Constant(adjoint ? a.cols() : a.rows(), columns, std::numeric_limits<T>::quiet_NaN());
        const MatrixView<T> from = view<T>(x);
        if (adjoint) {
            map.apply_adjoint(view<T>(y), from, wasi::plain_memory());
        } else {
            map.apply(view<T>(y), from, wasi::plain_memory());
        }
        Dense<long double> sum = Dense<long double>::Zero(y.rows(), columns);
        Dense<long double> size = sum;
        for (Index outer = 0; outer < a.outerSize(); ++outer) {
            for (typename Sparse::InnerIterator at(a, outer); at; ++at) {
                const auto to = adjoint ? at.col() : at.row();
                const auto with = adjoint ? at.row() : at.col();
                for (Index j = 0; j < columns; ++j) {
                    const long double term =
                        static_cast<long double>(at.value()) * static_cast<long double>(x(with, j));
                    sum(to, j) += term;
                    size(to, j) += std::abs(term);
                }
            }
        }
        for (Index i = 0; i < y.size(); ++i) {
            const long double error = std::abs(static_cast<long double>(y.data()[i]) - sum.data()[i]);
            const long double unit = static_cast<long double>(wasi::epsilon<T>) * size.data()[i];
            // Not std::max alone: it would drop a NaN.
            worst = error <= 1e30L ? std::max(worst, static_cast<double>(unit > 0.0L ? error / unit : error * 1e30L))
                                   : std::numeric_limits<double>::infinity();
        }
        products[adjoint ? 1 : 0] = y;
    }
    return worst;
}

TEST_CASE_TEMPLATE("sparse products: to rounding for both orders, all widths, any shape, and not compressed", T, float,
                   double)
{
    const auto check = [](const auto& a, Index columns) {
        Dense<T> products[2];
        CHECK(worst_error(a, columns, products) <= 64.0);
    };
    for (const Index columns : {1, 7, 43, 80}) {
        check(random_sparse<T, Eigen::RowMajor>(300, 2500, 9000), columns);
        check(random_sparse<T, Eigen::ColMajor>(2500, 300, 9000), columns);
    }
    check(random_sparse<T, Eigen::RowMajor>(1, 5, 3), 2);
    check(random_sparse<T, Eigen::ColMajor>(1, 5, 3), 2);
    check(random_sparse<T, Eigen::RowMajor>(40, 30, 0), 3);
    auto loose = random_sparse<T, Eigen::RowMajor>(300, 2500, 9000);
    loose.uncompress();
    loose.coeffRef(5, 7) = T(3);
    loose.coeffRef(299, 2499) = T(-2);
    check(loose, 43);
}

TEST_CASE_TEMPLATE("sparse products: the same bits for one thread and for three", T, float, double)
{
    const int before = wasi::thread_count();
    const auto a = random_sparse<T, Eigen::RowMajor>(300, 2500, 9000);
    Dense<T> one[2];
    Dense<T> three[2];
    wasi::set_thread_count(1);
    CHECK(worst_error(a, 43, one) <= 64.0);
    wasi::set_thread_count(3);
    CHECK(worst_error(a, 43, three) <= 64.0);
    wasi::set_thread_count(before);
    CHECK(one[0] == three[0]);
    CHECK(one[1] == three[1]);
}

TEST_CASE_TEMPLATE("sparse products: a map whose indices do not rise, the same bits for one thread and for three", T,
                   float, double)
{
    using Map = Eigen::Map<const Eigen::SparseMatrix<T, Eigen::RowMajor>>;
    // Every 125th column, in another order in each row.
    constexpr int rows = 30;
    constexpr int each = 20;
    std::vector<int> starts{0};
    std::vector<int> columns;
    std::vector<T> values;
    for (int i = 0; i < rows; ++i) {
        for (int k = 0; k < each; ++k) {
            columns.push_back(125 * ((3 * i + 7 * k) % each));
            values.push_back(T(1) / static_cast<T>(1 + i + 10 * k));
        }
        starts.push_back(static_cast<int>(columns.size()));
    }
    const Map a(rows, 2500, rows * each, starts.data(), columns.data(), values.data());
    const int before = wasi::thread_count();
    Dense<T> one[2];
    Dense<T> three[2];
    wasi::set_thread_count(1);
    CHECK(worst_error(a, 43, one) <= 64.0);
    wasi::set_thread_count(3);
    CHECK(worst_error(a, 43, three) <= 64.0);
    wasi::set_thread_count(before);
    CHECK(one[0] == three[0]);
    CHECK(one[1] == three[1]);
}

}  // namespace
