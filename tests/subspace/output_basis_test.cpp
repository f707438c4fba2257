// Principal components of what a matrix makes of the inputs seen: against the SVD of all outputs, written out.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include <support/engines.hpp>
#include <support/matrices.hpp>
#include <wasi/linalg/running_covariance.hpp>
#include <wasi/subspace/output_basis.hpp>

namespace {

using namespace wasi_tests;  // NOLINT(google-build-using-namespace)
using wasi::Memory;
using wasi::Tensor;

/// W, inputs with a mean and a decaying spread, gains; and everything that is known of them.
template <class E>
struct Case {
    using T = typename E::Scalar;
    using S = typename E::Storage;

    Case(Index outputs, Index inputs, Index count, bool equal_gains)
        : w(random_matrix<T>(outputs, inputs, 1)), x(random_matrix<T>(count, inputs, 2))
    {
        for (Index i = 0; i < count; ++i) {
            for (Index j = 0; j < inputs; ++j) {
                const double decay = std::pow(0.8, static_cast<double>(j));
                x.view()(i, j) = static_cast<T>(2.0 + decay * static_cast<double>(x.view()(i, j)));
            }
        }
        for (Index o = 0; o < outputs; ++o) {
            const double one = equal_gains ? 1.0 : std::pow(2.0, static_cast<double>(o % 5) - 2.0);
            gain.push_back(static_cast<T>(one));
            inverse.push_back(static_cast<T>(1.0 / one));
        }
        wasi::linalg::RunningCovariance<S, T> covariance(std::min(outputs, inputs), memory);
        Matrix<T> y(count, outputs);
        NaiveStorage::multiply(y.view(), T(1), ConstMatrixView<T>(x.view()), ConstMatrixView<T>(w.view()).transposed(),
                               T(0), memory);
        covariance.add(outputs <= inputs ? ConstMatrixView<T>(y.view()) : ConstMatrixView<T>(x.view()));
        basis = wasi::subspace::output_basis<S, T>(w.view(), {covariance.scatter(), static_cast<double>(count), gain},
                                                   std::min(outputs, inputs), memory, {});
    }

    /// G W~ (x - mean) for every input, (count, outputs), in double, of any W~.
    [[nodiscard]] Matrix<double> outputs_of(ConstMatrixView<T> of) const
    {
        const auto rows = x.view();
        Matrix<double> result(rows.rows, of.rows);
        std::vector<double> mean(static_cast<std::size_t>(rows.cols), 0.0);
        for (Index j = 0; j < rows.cols; ++j) {
            for (Index i = 0; i < rows.rows; ++i) {
                mean[static_cast<std::size_t>(j)] += static_cast<double>(rows(i, j)) / static_cast<double>(rows.rows);
            }
        }
        for (Index i = 0; i < rows.rows; ++i) {
            for (Index o = 0; o < of.rows; ++o) {
                double sum = 0.0;
                for (Index j = 0; j < rows.cols; ++j) {
                    sum += static_cast<double>(of(o, j)) *
                           (static_cast<double>(rows(i, j)) - mean[static_cast<std::size_t>(j)]);
                }
                result.view()(i, o) = sum * static_cast<double>(gain[static_cast<std::size_t>(o)]);
            }
        }
        return result;
    }

    wasi::Ledger memory;
    Matrix<T> w;
    Matrix<T> x;
    std::vector<T> gain;
    std::vector<T> inverse;
    wasi::subspace::OutputBasis<T> basis;
};

TEST_CASE_TEMPLATE("output basis: every rank makes the least error that there is", E, WASI_TEST_ENGINES)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    struct Size {
        Index outputs, inputs, count;
    };
    for (const Size size : {Size{6, 9, 40}, Size{9, 6, 40}, Size{7, 7, 40}, Size{1, 5, 12}, Size{5, 1, 12}}) {
        for (const bool equal_gains : {true, false}) {
            INFO(size.outputs, " x ", size.inputs, " on ", size.count, ", equal gains ", equal_gains);
            Case<E> one(size.outputs, size.inputs, size.count, equal_gains);
            const Index n = std::min(size.outputs, size.inputs);
            REQUIRE(one.basis.count() == n);
            // The singular values of all outputs say what the best of each rank leaves (Eckart and Young).
            const Matrix<double> exact = one.outputs_of(one.w.view());
            const Index side = std::min(size.count, size.outputs);
            Matrix<double> u(size.count, side);
            Matrix<double> v(size.outputs, side);
            std::vector<double> s(static_cast<std::size_t>(side));
            REQUIRE(NaiveStorage::svd(ConstMatrixView<double>(exact.view()), u.view(), std::span<double>(s), v.view(),
                                      one.memory));
            double all = 0.0;
            for (const double value : s) {
                all += value * value / static_cast<double>(size.count);
            }
            for (Index j = 0; j < n; ++j) {
                const double value = s[static_cast<std::size_t>(j)];
                CHECK(std::abs(one.basis.energies[static_cast<std::size_t>(j)] -
                               value * value / static_cast<double>(size.count)) <= tolerance<T>(64, all));
            }
            for (Index rank = 1; rank <= n; ++rank) {
                const auto factors = wasi::subspace::output_factors<S, T>(one.w.view(), one.basis, one.gain,
                                                                          one.inverse, rank, one.memory, {});
                Matrix<T> product(size.outputs, size.inputs);
                NaiveStorage::multiply(product.view(), T(1), factors.left.matrix(), factors.right.matrix(), T(0),
                                       one.memory);
                const Matrix<double> kept = one.outputs_of(product.view());
                double error = 0.0;
                for (Index i = 0; i < size.count; ++i) {
                    for (Index o = 0; o < size.outputs; ++o) {
                        const double apart = exact.view()(i, o) - kept.view()(i, o);
                        error += apart * apart / static_cast<double>(size.count);
                    }
                }
                double least = 0.0;
                for (auto j = static_cast<std::size_t>(rank); j < s.size(); ++j) {
                    least += s[j] * s[j] / static_cast<double>(size.count);
                }
                CHECK(std::abs(error - least) <= tolerance<T>(256, all));
            }
        }
    }
}

TEST_CASE_TEMPLATE("output basis: fewer inputs than numbers, none that vary, and what is refused", T, float, double)
{
    using E = Engine<wasi::EigenStorage, T>;
    {
        Case<E> few(9, 6, 4, true);  // three directions at most
        CHECK(few.basis.count() >= 3);
        double rest = 0.0;
        for (std::size_t j = 3; j < few.basis.energies.size(); ++j) {
            rest += few.basis.energies[j];
        }
        CHECK(rest <= 1e-6 * few.basis.energies.front());
    }
    Case<E> one(9, 6, 40, true);
    const std::vector<double> zeros(36, 0.0);
    const auto nothing = ConstMatrixView<double>::row_major(zeros.data(), 6, 6);
    // Inputs that never vary count as if they varied alike: the weight's own directions.
    const auto basis =
        wasi::subspace::output_basis<wasi::EigenStorage, T>(one.w.view(), {nothing, 1.0, one.gain}, 3, one.memory, {});
    CHECK(basis.count() == 3);
    CHECK(basis.rows.shape()[1] == 6);
    auto bad = zeros;
    bad[0] = std::nan("");
    const auto make = [&](ConstMatrixView<double> scatter, Index most, std::span<const T> gain) {
        static_cast<void>(wasi::subspace::output_basis<wasi::EigenStorage, T>(one.w.view(), {scatter, 1.0, gain}, most,
                                                                              one.memory, {}));
    };
    CHECK_THROWS_AS(make(ConstMatrixView<double>::row_major(bad.data(), 6, 6), 3, one.gain), wasi::argument_error);
    bad[0] = -1.0;
    CHECK_THROWS_AS(make(ConstMatrixView<double>::row_major(bad.data(), 6, 6), 3, one.gain), wasi::argument_error);
    CHECK_THROWS_AS(make(nothing, 0, one.gain), wasi::shape_error);
    CHECK_THROWS_AS(make(nothing, 3, std::span<const T>(one.gain).first(8)), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(wasi::subspace::output_factors<wasi::EigenStorage, T>(
                        one.w.view(), one.basis, one.gain, one.inverse, 7, one.memory, {})),
                    wasi::shape_error);
}

}  // namespace
