#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "support/matrices.hpp"
#include "wasi/linalg/svd.hpp"
#include "wasi/storage/eigen.hpp"

/// Singular spectra that are hard for truncated decompositions, and the true errors of such decompositions.
namespace wasi_tests {

/// Singular values from large to small.
using Values = std::vector<double>;

/// values[j] = f(j).
template <class F>
[[nodiscard]] Values values_from(Index count, F&& f)
{
    Values values(static_cast<std::size_t>(count));
    for (Index j = 0; j < count; ++j) {
        values[static_cast<std::size_t>(j)] = f(static_cast<double>(j));
    }
    return values;
}

/// (j + 1)^-power.
[[nodiscard]] inline Values polynomial(Index count, double power)
{
    return values_from(count, [power](double j) { return std::pow(j + 1.0, -power); });
}

/// ratio^j.
[[nodiscard]] inline Values exponential(Index count, double ratio)
{
    return values_from(count, [ratio](double j) { return std::pow(ratio, j); });
}

/// `steps` values of 1, the rest `low`.
[[nodiscard]] inline Values step(Index count, Index steps, double low)
{
    return values_from(count, [steps, low](double j) { return j < static_cast<double>(steps) ? 1.0 : low; });
}

struct NamedSpectrum {
    std::string name;
    Values values;
};

/// One of each kind. A list shorter than the matrix is wide means rank deficiency.
[[nodiscard]] inline std::vector<NamedSpectrum> all_spectra(Index count)
{
    const Index some = std::max<Index>(1, count / 8);
    return {{"polynomial, slow", polynomial(count, 0.5)},
            {"polynomial, fast", polynomial(count, 2.0)},
            {"exponential", exponential(count, 0.8)},
            {"step", step(count, some, 1e-2)},
            {"spiked", values_from(count, [](double j) { return j < 2.0 ? 100.0 : 1.0 / (1.0 + 0.01 * j); })},
            {"clustered", values_from(count, [](double j) { return std::pow(0.5, std::floor(j / 3.0)); })},
            {"rank deficient", exponential(some, 0.7)},
            {"zero", Values{}}};
}

/// values[j], and 0 beyond the end.
[[nodiscard]] inline double value_at(const Values& values, Index j)
{
    return j < static_cast<Index>(values.size()) ? values[static_cast<std::size_t>(j)] : 0.0;
}

/// The sum of values[j]² for first <= j < last.
[[nodiscard]] inline double energy(const Values& values, Index first, Index last)
{
    double sum = 0.0;
    for (Index j = first; j < last; ++j) {
        sum += value_at(values, j) * value_at(values, j);
    }
    return sum;
}

[[nodiscard]] inline double energy(const Values& values)
{
    return energy(values, 0, static_cast<Index>(values.size()));
}

/// The energy beyond the first `rank` values.
[[nodiscard]] inline double tail_energy(const Values& values, Index rank)
{
    return energy(values, rank, static_cast<Index>(values.size()));
}

/// The fewest leading values, at least one, whose energy is at least `fraction` of the whole.
[[nodiscard]] inline Index rank_for_energy(const Values& values, double fraction)
{
    Index rank = 1;
    while (rank < static_cast<Index>(values.size()) && tail_energy(values, rank) > (1.0 - fraction) * energy(values)) {
        ++rank;
    }
    return rank;
}

/// A - U diag(s) Vᵀ in double.
template <class A, class U>
[[nodiscard]] Matrix<double> residual(MatrixView<A> a, MatrixView<U> u, std::span<U> s, MatrixView<U> v)
{
    Matrix<double> result(a.rows, a.cols);
    for (Index i = 0; i < a.rows; ++i) {
        for (Index j = 0; j < a.cols; ++j) {
            double sum = static_cast<double>(a(i, j));
            for (Index p = 0; p < u.cols; ++p) {
                sum -= static_cast<double>(u(i, p)) * static_cast<double>(s[static_cast<std::size_t>(p)]) *
                       static_cast<double>(v(j, p));
            }
            result(i, j) = sum;
        }
    }
    return result;
}

template <class A, wasi::Scalar T>
[[nodiscard]] Matrix<double> residual(MatrixView<A> a, const wasi::linalg::SvdFactors<T>& f)
{
    return residual(a, f.u.matrix(), f.s.span(), f.v.matrix());
}

/// The singular values of a matrix, in double.
[[nodiscard]] inline Values singular_values(ConstMatrixView<double> a)
{
    const Index k = std::min(a.rows, a.cols);
    Matrix<double> u(a.rows, k);
    Matrix<double> v(a.cols, k);
    Values s(static_cast<std::size_t>(k));
    naive::expect(wasi::EigenStorage::svd(a, u.view(), std::span<double>(s), v.view(), wasi::plain_memory()),
                  "singular_values");
    return s;
}

/// ||A||_2.
[[nodiscard]] inline double spectral_norm(const Matrix<double>& a)
{
    return value_at(singular_values(a.view()), 0);
}

}  // namespace wasi_tests
