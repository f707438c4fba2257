#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <support/central_differences.hpp>
#include <support/engines.hpp>
#include <support/matrices.hpp>

/// The backward kernels against central differences of the forward ones, in double.
namespace {

using wasi_tests::Matrix;
using wasi_tests::random_matrix;

/// The elements of a contiguous matrix.
[[nodiscard]] std::span<double> values(Matrix<double>& a)
{
    return {a.view().data, static_cast<std::size_t>(a.view().size())};
}

/// The derivative of `f`, which reads x, by x, against a gradient. The differences are good to h⁴ = 1e-12 times a fifth
/// derivative and to epsilon / h = 2e-13 times the function, each of which may be some hundred here.
void check_derivative(Matrix<double>& gradient, Matrix<double>& x, const std::function<double()>& f)
{
    const auto differences = wasi_tests::central_differences(values(x), f);
    const double scale = std::max(1.0, wasi_tests::max_abs(wasi::as_row(std::span<const double>(differences))));
    CHECK(wasi_tests::max_difference(wasi::as_row(values(gradient)),
                                     wasi::as_row(std::span<const double>(differences))) <= 1e-9 * scale);
    CHECK(wasi_tests::max_abs(gradient.view()) > 0.01);
}

/// sum_ij w_ij y_ij.
[[nodiscard]] double weighted_sum(const Matrix<double>& w, const Matrix<double>& y)
{
    return wasi_tests::NaiveStorage::dot(w.view(), y.view());
}

TEST_CASE_TEMPLATE("gelu_backward is the derivative of gelu", E, WASI_TEST_DOUBLE_ENGINES)
{
    using S = typename E::Storage;
    auto x = random_matrix<double>(5, 9, 1);
    const auto dy = random_matrix<double>(5, 9, 2);
    Matrix<double> y(5, 9);
    Matrix<double> dx(5, 9);
    S::gelu_backward(dx.view(), dy.view(), x.view());
    check_derivative(dx, x, [&] {
        S::gelu(y.view(), x.view());
        return weighted_sum(dy, y);
    });
}

TEST_CASE_TEMPLATE("quick_gelu_backward is the derivative of quick_gelu", E, WASI_TEST_DOUBLE_ENGINES)
{
    using S = typename E::Storage;
    auto x = random_matrix<double>(5, 9, 1);
    const auto dy = random_matrix<double>(5, 9, 2);
    Matrix<double> y(5, 9);
    Matrix<double> dx(5, 9);
    S::quick_gelu_backward(dx.view(), dy.view(), x.view());
    check_derivative(dx, x, [&] {
        S::quick_gelu(y.view(), x.view());
        return weighted_sum(dy, y);
    });
}

TEST_CASE_TEMPLATE("relu_backward is the derivative of relu", E, WASI_TEST_DOUBLE_ENGINES)
{
    using S = typename E::Storage;
    auto x = random_matrix<double>(5, 9, 3);  // no element within two steps of the kink
    const auto dy = random_matrix<double>(5, 9, 4);
    Matrix<double> y(5, 9);
    Matrix<double> dx(5, 9);
    S::relu_backward(dx.view(), dy.view(), x.view());
    check_derivative(dx, x, [&] {
        S::relu(y.view(), x.view());
        return weighted_sum(dy, y);
    });
}

TEST_CASE_TEMPLATE("softmax_backward is the derivative of softmax", E, WASI_TEST_DOUBLE_ENGINES)
{
    using S = typename E::Storage;
    for (const double scale : {1.0, 0.35}) {
        auto x = random_matrix<double>(4, 7, 5);
        const auto dy = random_matrix<double>(4, 7, 6);
        auto p = x;
        S::softmax(p.view(), scale);
        auto dx = dy;
        S::softmax_backward(dx.view(), p.view(), scale);
        check_derivative(dx, x, [&] {
            auto y = x;
            S::softmax(y.view(), scale);
            return weighted_sum(dy, y);
        });
    }
}

TEST_CASE_TEMPLATE("layer_norm_backward is the derivative of layer_norm by input, gain and bias", E,
                   WASI_TEST_DOUBLE_ENGINES)
{
    using S = typename E::Storage;
    auto x = random_matrix<double>(6, 11, 7);
    auto gain = random_matrix<double>(1, 11, 8);
    auto bias = random_matrix<double>(1, 11, 9);
    const auto dy = random_matrix<double>(6, 11, 10);
    std::vector<double> mean(6), inverse(6);
    Matrix<double> y(6, 11);
    const auto loss = [&] {
        S::layer_norm(y.view(), mean, inverse, x.view(), values(gain), values(bias), 1e-6);
        return weighted_sum(dy, y);
    };
    static_cast<void>(loss());
    Matrix<double> dx(6, 11);
    Matrix<double> dgain(1, 11);
    Matrix<double> dbias(1, 11);
    S::layer_norm_backward(dx.view(), values(dgain), values(dbias), dy.view(), x.view(), mean, inverse, values(gain),
                           wasi::plain_memory());
    check_derivative(dx, x, loss);
    check_derivative(dgain, gain, loss);
    check_derivative(dbias, bias, loss);
}

TEST_CASE_TEMPLATE("cross_entropy's gradient is the derivative of its loss", E, WASI_TEST_DOUBLE_ENGINES)
{
    using S = typename E::Storage;
    auto x = random_matrix<double>(5, 6, 11);
    const std::vector<std::int64_t> labels{0, 5, 2, 2, 1};
    Matrix<double> dx(5, 6);
    Matrix<double> unused(5, 6);
    static_cast<void>(S::cross_entropy(dx.view(), x.view(), labels));
    check_derivative(dx, x, [&] { return S::cross_entropy(unused.view(), x.view(), labels); });
}

}  // namespace
