#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include <support/engines.hpp>
#include <support/tucker_checks.hpp>
#include <wasi/tensor/hooi.hpp>

// Rules are met by the true error, or the status says that they are not.
namespace {

using wasi::Index;
using wasi::linalg::Energy;
using wasi::linalg::RankRule;
using wasi::linalg::Tolerance;
using wasi::tensor::ModeRules;
using wasi::tensor::Status;
using wasi::tensor::Tucker;
using wasi_tests::PlainTensor;
using wasi_tests::tensor_with_values;
using wasi_tests::tolerance;
using wasi_tests::true_error;
using wasi_tests::Values;

std::vector<Values> spectra(Index count)
{
    return {Values(static_cast<std::size_t>(count), 1.0),
            wasi_tests::polynomial(count, 1.0),
            wasi_tests::exponential(count, 0.5),
            wasi_tests::exponential(count, 0.03),
            wasi_tests::step(count, 2, 1e-8),
            wasi_tests::step(count, count / 2, 1e-6),
            wasi_tests::values_from(count, [](double j) { return std::pow(1e-3, std::floor(j / 2.0)); })};
}

/// Every decomposition of `x` under `rules`: an ok means that the true error is within `allowed`, and rules that are
/// within reach of the scalar type must be ok.
template <class E, std::size_t N>
void check_rule(const PlainTensor<typename E::Scalar, N>& x, const ModeRules<N>& rules, double allowed, bool in_reach)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    const auto check = [&](const std::string& who, const Tucker<T, N>& form) {
        INFO(who, ", ranks ", wasi::shape_text(form.ranks()), ", said ", form.error);
        const double error = true_error(x, form);
        CHECK((form.status == Status::rule_not_met ||
               error <= allowed * (1.0 + 20.0 * wasi::epsilon<T>)+static_cast<double>(wasi::epsilon<double>)));
        CHECK((form.status == Status::ok || !in_reach || form.status == Status::sweep_limit));
        CHECK(std::abs(form.error - error) <= 0.02 * error + tolerance<T>(16, 1.0));
        CHECK(wasi_tests::basis_defect(form) <= tolerance<T>(x.view().size(), 1.0));
    };
    check("hosvd", wasi::tensor::hosvd<S, T, N>(x.view(), rules, memory));
    check("sequential", wasi::tensor::sequentially_truncated_hosvd<S, T, N>(x.view(), rules, {}, memory));
    check("hooi", wasi::tensor::hooi<S, T, N>(x.view(), {.ranks = rules, .max_sweeps = 2}, memory));
}

template <class E, std::size_t N>
void check_tolerances(const std::array<Index, N>& shape)
{
    using T = typename E::Scalar;
    constexpr bool wide = sizeof(T) == sizeof(double);
    const Index count = *std::min_element(shape.begin(), shape.end());
    std::uint64_t seed = 0;
    for (const auto& values : spectra(count)) {
        const auto x = tensor_with_values<T, N>(shape, values, ++seed);
        for (const double t : {0.3, 1e-2, 1e-5, 1e-7, 1e-9, 1e-11, 1e-13, 1e-17}) {
            INFO("shape ", wasi::shape_text(shape), ", spectrum ", seed, ", tolerance ", t);
            const bool in_reach = t >= (wide ? 1e-13 : 1e-5);
            check_rule<E, N>(x, Tolerance{t}, t * std::sqrt(static_cast<double>(N)), in_reach);
            check_rule<E, N>(x, wasi::tensor::in_total<N>(Tolerance{t}), t, in_reach);
        }
        for (const double rest : {0.3, 1e-3, 1e-8, 1e-13}) {
            INFO("shape ", wasi::shape_text(shape), ", spectrum ", seed, ", energy 1 - ", rest);
            const double fraction = 1.0 - rest;
            const double share = 1.0 - fraction;
            const bool in_reach = rest >= (wide ? 1e-15 : 1e-10);
            check_rule<E, N>(x, Energy{fraction}, std::sqrt(static_cast<double>(N) * share), in_reach);
        }
    }
}

TEST_CASE_TEMPLATE("tolerances and energies: met by the true error or the status says not, orders 1 to 5", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble)
{
    check_tolerances<E, 1>({30});
    check_tolerances<E, 2>({12, 20});
    check_tolerances<E, 3>({9, 8, 10});
    check_tolerances<E, 3>({40, 4, 6});  // a tall unfolding
    check_tolerances<E, 4>({5, 4, 4, 4});
    check_tolerances<E, 5>({3, 4, 3, 3, 3});
}

TEST_CASE("a tolerance below the square root of epsilon takes the fewest ranks, as those above it do")
{
    using S = wasi::EigenStorage;
    const Values values = wasi_tests::exponential(20, 0.1);
    const auto x = tensor_with_values<double, 3>({20, 25, 30}, values, 3);
    for (int digits = 1; digits <= 13; ++digits) {
        const double t = 2.0 * std::pow(10.0, -digits);  // 10^-digits / sqrt(0.99) is the tail beyond `digits` values
        for (const auto& form : {wasi::tensor::hosvd<S, double, 3>(x.view(), Tolerance{t}, wasi::plain_memory()),
                                 wasi::tensor::sequentially_truncated_hosvd<S, double, 3>(x.view(), Tolerance{t}, {},
                                                                                          wasi::plain_memory())}) {
            INFO("tolerance ", t);
            CHECK(form.ranks() == std::array<Index, 3>{digits, digits, digits});
            CHECK(form.status == Status::ok);
        }
    }
}

TEST_CASE_TEMPLATE("energy 1 keeps all that is above the rounding of the data, and nothing below", T, float, double)
{
    using S = wasi::EigenStorage;
    auto& memory = wasi::plain_memory();
    const double least = sizeof(T) == sizeof(double) ? 1e-13 : 2e-5;
    // A long mode: a floor that grows with the extent would take the smaller half for rounding.
    for (const auto& shape : {std::array<Index, 3>{6, 10, 300}, {300, 60, 6}, {6, 2500, 6}}) {
        const Values values = wasi_tests::values_from(6, [&](double j) { return std::pow(least, j / 5.0); });
        const auto x = tensor_with_values<T, 3>(shape, values, 5);
        const auto form = wasi::tensor::sequentially_truncated_hosvd<S, T, 3>(x.view(), Energy{1.0}, {}, memory);
        INFO("shape ", wasi::shape_text(shape));
        CHECK(form.ranks() == std::array<Index, 3>{6, 6, 6});
        CHECK(form.status == Status::ok);
        CHECK(true_error(x, form) <= tolerance<T>(16, 1.0));
        CHECK(wasi::tensor::hosvd<S, T, 3>(x.view(), Tolerance{0.0}, memory).ranks() == std::array<Index, 3>{6, 6, 6});
    }
    // A mode of hundreds of directions, ten of which are not rounding.
    const auto wide = tensor_with_values<T, 2>({400, 500}, wasi_tests::exponential(10, 0.5), 5);
    CHECK(wasi::tensor::hosvd<S, T, 2>(wide.view(), Energy{1.0}, memory).ranks() == std::array<Index, 2>{10, 10});
}

TEST_CASE("float, a tall mode: values that a floor of n epsilon would take for rounding")
{
    // 40,000 x 3 x 3, condition 200: n epsilon is 1/200.
    const auto x = tensor_with_values<float, 3>({40000, 3, 3}, Values{1.0, 0.05, 0.002}, 3);
    const auto form = wasi::tensor::hosvd<wasi::EigenStorage, float, 3>(x.view(), Energy{1.0}, wasi::plain_memory());
    CHECK(form.ranks() == std::array<Index, 3>{3, 3, 3});
    CHECK(true_error(x, form) <= tolerance<float>(16, 1.0));
}

TEST_CASE_TEMPLATE("rules that promise no error make no claim", T, float, double)
{
    using S = wasi::EigenStorage;
    auto& memory = wasi::plain_memory();
    const auto x = wasi_tests::random_tensor<T, 3>({6, 7, 8}, 3);
    const RankRule counts = [](const wasi::linalg::Spectrum& spectrum) {
        return static_cast<Index>(spectrum.values.size()) - 3;
    };
    const RankRule everything = [](const wasi::linalg::Spectrum& spectrum) {
        return static_cast<Index>(spectrum.values.size());
    };
    const auto status = [&](const ModeRules<3>& rules) {
        return wasi::tensor::hosvd<S, T, 3>(x.view(), rules, memory).status;
    };
    CHECK(status(2) == Status::ok);
    CHECK(status({Tolerance{1e-6}, 2, Tolerance{1e-6}}) == Status::ok);
    CHECK(status(counts) == Status::ok);
    CHECK(status(everything) == Status::ok);
    CHECK(status(first_of(Energy{0.999}, 2)) == Status::ok);
    CHECK(status(first_of(Energy{0.999}, Tolerance{0.3})) == Status::ok);
    CHECK(status(wasi::linalg::GavishDonoho{}) == Status::ok);
    CHECK(status(wasi::linalg::GavishDonoho{0.1}) == Status::ok);
    CHECK(status(Tolerance{1e-18}) == Status::rule_not_met);
    CHECK(status({6, 7, Tolerance{1e-18}}) == Status::rule_not_met);  // fixed ranks that cut nothing
    CHECK(status(Energy{1.0}) == Status::ok);
}

/// A storage whose eigenvalues and singular values never converge.
struct Stubborn : wasi::EigenStorage {
    template <class T>
    static Index eigh_leading(wasi::MatrixView<T>, std::span<T>, const wasi::ChooseCount&, wasi::Memory&)
    {
        return -1;
    }
    template <class A, class U, class V, class W>
    static bool svd(A, U, V, W, wasi::Memory&)
    {
        return false;
    }
};

TEST_CASE_TEMPLATE("eigenvalues that do not converge are a status, and the form is whole", T, float, double)
{
    auto& memory = wasi::plain_memory();
    for (const auto& shape : {std::array<Index, 3>{4, 5, 6}, {30, 2, 3}}) {
        const auto x = wasi_tests::random_tensor<T, 3>(shape, 3);
        for (const auto& form :
             {wasi::tensor::hosvd<Stubborn, T, 3>(x.view(), 2, memory),
              wasi::tensor::sequentially_truncated_hosvd<Stubborn, T, 3>(x.view(), Energy{0.5}, {}, memory),
              wasi::tensor::hooi<Stubborn, T, 3>(x.view(), {.ranks = 2}, memory)}) {
            CHECK(form.status == Status::not_converged);
            CHECK(true_error(x, form) <= tolerance<T>(180, 1.0));
            CHECK(wasi_tests::basis_defect(form) <= tolerance<T>(30, 1.0));
        }
    }
}

}  // namespace
