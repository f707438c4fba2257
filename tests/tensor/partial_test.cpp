#include <doctest/doctest.h>

#include <array>
#include <cmath>

#include <support/eigen_tensor.hpp>
#include <support/engines.hpp>
#include <support/tucker_checks.hpp>
#include <wasi/tensor/hooi.hpp>
#include <wasi/tensor/warm_tucker.hpp>

// Partial Tucker: some modes are not compressed and have no basis.
namespace {

using wasi::Index;
using wasi::linalg::Energy;
using wasi::tensor::ModeRules;
using wasi::tensor::Status;
using wasi::tensor::Tucker;
using wasi::tensor::uncompressed;
using wasi_tests::full;
using wasi_tests::gap;
using wasi_tests::PlainTensor;
using wasi_tests::tolerance;

template <std::size_t N>
using Extents = std::array<Index, N>;

/// Ranks, missing bases, the true error, and the same form with unit vectors in the place of what is missing.
template <class E, std::size_t N>
void check_partial(const PlainTensor<typename E::Scalar, N>& x, const Tucker<typename E::Scalar, N>& form,
                   const Extents<N>& ranks, const std::array<bool, N>& without)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    CHECK(form.ranks() == ranks);
    CHECK(form.shape() == x.shape);
    Tucker<T, N> whole;
    whole.core = wasi::clone<wasi::EigenStorage>(form.core, wasi::Tag{});
    std::size_t bytes = form.core.bytes();
    for (std::size_t m = 0; m < N; ++m) {
        CHECK(form.bases[m].empty() == without[m]);
        if (without[m]) {
            whole.bases[m] = wasi::workspace<T>(memory, x.shape[m], x.shape[m]);
            std::ranges::fill(whole.bases[m].span(), T(0));
            for (Index i = 0; i < x.shape[m]; ++i) {
                whole.bases[m].matrix()(i, i) = T(1);
            }
        } else {
            whole.bases[m] = wasi::clone<wasi::EigenStorage>(form.bases[m], wasi::Tag{});
            bytes += form.bases[m].bytes();
            CHECK(wasi_tests::orthonormality_defect(form.bases[m].matrix()) <= tolerance<T>(16, 1.0));
        }
    }
    CHECK(form.bytes() == bytes);
    const double error = wasi_tests::true_error(x, form);
    const double size = wasi_tests::norm(wasi_tests::in_double(x.view()));
    const double rounding = tolerance<T>(x.view().size(), size);
    CHECK(std::abs(form.error - error) <= 0.02 * error + tolerance<T>(16, 1.0));
    const auto back = wasi::tensor::reconstruct<S, T, N>(form.view(), memory);
    CHECK(gap(wasi_tests::in_double(back.template view<N>()), full(form.view())) <= rounding);
    const auto distance = [&](const auto& a, const auto& b) { return wasi::tensor::distance<S, T, N>(a, b, memory); };
    const auto product = [&](const auto& a, const auto& b) {
        return wasi::tensor::inner_product<S, T, N>(a, b, memory);
    };
    CHECK(std::abs(distance(form.view(), x.view()) - distance(whole.view(), x.view())) <= rounding);
    CHECK(distance(form.view(), whole.view()) <= rounding);
    CHECK(distance(form.view(), form.view()) <= rounding);
    CHECK(std::abs(product(form.view(), x.view()) - product(whole.view(), x.view())) <= size * rounding);
    CHECK(std::abs(product(form.view(), whole.view()) - product(whole.view(), whole.view())) <= size * rounding);
    CHECK(std::abs(product(form.view(), form.view()) - product(whole.view(), whole.view())) <= size * rounding);
    // A block that cuts every mode.
    Extents<N> first{};
    Extents<N> count{};
    for (std::size_t m = 0; m < N; ++m) {
        first[m] = x.shape[m] > 1 ? 1 : 0;
        count[m] = std::max<Index>(1, x.shape[m] - 2);
    }
    const auto block = wasi::tensor::reconstruct_block<S, T, N>(form.view(), first, count, memory);
    const auto expected = full(form.view());
    double worst = 0.0;
    for (Index at = 0; at < block.size(); ++at) {
        auto index = wasi_tests::index_at(count, at);
        for (std::size_t m = 0; m < N; ++m) {
            index[m] += first[m];
        }
        worst = std::max(
            worst, std::abs(static_cast<double>(block.data()[at]) -
                            expected.elements[static_cast<std::size_t>(wasi_tests::position_of(x.shape, index))]));
    }
    CHECK(worst <= rounding);
}

TEST_CASE_TEMPLATE("partial Tucker: modes that are not compressed have no basis and lose nothing", E,
                   wasi_tests::EigenFloat, wasi_tests::EigenDouble, wasi_tests::NaiveDouble)
{
    using T = typename E::Scalar;
    using S = typename E::Storage;
    auto& memory = wasi::plain_memory();
    const auto x = wasi_tests::random_tensor<T, 3>({6, 7, 8}, 3);
    for (int bits = 0; bits < 8; ++bits) {
        const std::array<bool, 3> without{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
        const ModeRules<3> rules = ModeRules<3>(3).without(without);
        const Extents<3> ranks{without[0] ? 6 : 3, without[1] ? 7 : 3, without[2] ? 8 : 3};
        INFO("without ", bits);
        const auto once = wasi::tensor::hosvd<S, T, 3>(x.view(), rules, memory);
        check_partial<E, 3>(x, once, ranks, without);
        const auto sequential = wasi::tensor::sequentially_truncated_hosvd<S, T, 3>(x.view(), rules, {}, memory);
        check_partial<E, 3>(x, sequential, ranks, without);
        const auto refined = wasi::tensor::hooi<S, T, 3>(x.view(), {.ranks = rules}, memory);
        check_partial<E, 3>(x, refined, ranks, without);
        CHECK(refined.error <= sequential.error + tolerance<T>(16, 1.0));
        CHECK(refined.status == Status::ok);
    }
    // One compressed mode only: the best approximation of the unfolding.
    const auto one = wasi::tensor::hosvd<S, T, 3>(x.view(), {uncompressed, 2, uncompressed}, memory);
    const auto values = wasi_tests::singular_values(wasi_tests::unfold_by_loops(x.view(), 1).view());
    CHECK(std::abs(one.error - std::sqrt(wasi_tests::tail_energy(values, 2) / wasi_tests::energy(values))) <=
          tolerance<T>(16, 1.0));
    const auto five = wasi_tests::random_tensor<T, 5>({3, 4, 2, 3, 4}, 3);
    check_partial<E, 5>(five,
                        wasi::tensor::sequentially_truncated_hosvd<S, T, 5>(
                            five.view(), {2, uncompressed, 1, uncompressed, 3}, {}, memory),
                        {2, 4, 1, 3, 3}, {false, true, false, true, false});
    const auto vector = wasi_tests::random_tensor<T, 1>({5}, 3);
    check_partial<E, 1>(vector, wasi::tensor::hosvd<S, T, 1>(vector.view(), ModeRules<1>(1).without({true}), memory),
                        {5}, {true});
    const auto basis = wasi_tests::random_matrix<T>(8, 3, 7);
    const auto warm = wasi::tensor::warm_tucker_step<S, T, 3>(x.view(), basis.view(), {uncompressed, 2}, memory);
    check_partial<E, 3>(x, warm, {6, 2, 3}, {true, false, false});
    // An energy that every compressed mode keeps binds the whole form.
    const auto energy = wasi::tensor::hosvd<S, T, 3>(x.view(), {Energy{0.9}, uncompressed, Energy{0.9}}, memory);
    CHECK(energy.error <= std::sqrt(0.2));
    CHECK(energy.status == Status::ok);
}

#if WASI_TESTS_WITH_EIGEN_TENSOR
TEST_CASE_TEMPLATE("partial Tucker: users' tensors count modes as they do", T, float, double)
{
    const auto plain = wasi_tests::random_tensor<T, 3>({5, 6, 7}, 2);
    const auto check = [&](auto x) {
        std::copy(plain.elements.begin(), plain.elements.end(), x.data());
        for (const auto& form : {wasi::tensor::hosvd(x, {.ranks = {2, 3, uncompressed}}),
                                 wasi::tensor::sequentially_truncated_hosvd(x, {.ranks = {2, 3, uncompressed}}),
                                 wasi::tensor::hooi(x, {.ranks = {2, 3, uncompressed}})}) {
            CHECK(form.info.ranks == Extents<3>{2, 3, 7});
            CHECK(form.bases[0].rows() == 5);
            CHECK(form.bases[1].rows() == 6);
            CHECK(form.bases[2].size() == 0);
            CHECK(std::abs(wasi::tensor::relative_error(form, x) - form.info.error) <=
                  0.02 * form.info.error + tolerance<T>(4, 1.0));
            const auto back = wasi::tensor::reconstruct(form);
            CHECK(back.dimension(2) == 7);
            const auto slice = wasi::tensor::reconstruct_slice(form, 2, 3);
            CHECK(std::abs(static_cast<double>(slice(1, 2, 0) - back(1, 2, 3))) <= tolerance<T>(210, 1.0));
        }
        const Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic> basis =
            Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>::Identity(7, 2);
        const auto warm = wasi::tensor::warm_tucker_step(x, basis, {.ranks = {uncompressed, 3}});
        CHECK(warm.info.ranks == Extents<3>{5, 3, 2});
        CHECK(warm.bases[0].size() == 0);
    };
    check(Eigen::Tensor<T, 3>(5, 6, 7));
    check(Eigen::Tensor<T, 3, Eigen::RowMajor>(5, 6, 7));
}
#endif

}  // namespace
