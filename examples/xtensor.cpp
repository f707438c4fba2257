// The numerics on xtensor's types: matrices and tensors go in, the same kind comes out, and nothing is copied on the
// way in where the layout allows.
#include <cmath>
#include <cstdio>

#include <wasi/linalg/randomized_svd.hpp>
#include <wasi/tensor/hosvd.hpp>
#include <wasi/xtensor/family.hpp>
#include <wasi/xtensor/tensor_family.hpp>

using wasi::linalg::Energy;

int main()
{
    // Samples of a smooth function on a grid (60 x 40 x 30): a tensor of low rank, nearly.
    const auto x = xt::linspace<double>(0.0, 1.0, 60);
    const auto y = xt::linspace<double>(0.0, 1.0, 40);
    const auto z = xt::linspace<double>(0.0, 1.0, 30);
    const xt::xtensor<double, 3> field = 1.0 / (1.0 + xt::view(x, xt::all(), xt::newaxis(), xt::newaxis()) +
                                                xt::view(y, xt::newaxis(), xt::all(), xt::newaxis()) +
                                                xt::view(z, xt::newaxis(), xt::newaxis(), xt::all()));

    // One slice as a matrix: a view, not a copy. U, s and V are xt::xtensor.
    const auto slice = xt::view(field, 10, xt::all(), xt::all());
    const auto svd = wasi::linalg::randomized_svd(slice, {.rank = 4}, wasi::RandomKey(7));
    xt::xtensor<double, 2> rest = slice;
    for (std::size_t k = 0; k < svd.s.size(); ++k) {
        rest -= svd.s(k) * xt::view(svd.u, xt::all(), k, xt::newaxis()) * xt::view(svd.v, xt::newaxis(), xt::all(), k);
    }
    const double matrix_error = std::sqrt(xt::sum(xt::square(rest))() / xt::sum(xt::square(slice))());
    std::printf("slice   %2td singular values, relative error %.1e\n", svd.info.rank, matrix_error);

    // The whole tensor in Tucker form. An xt::xarray does not say its order, so the call does.
    const xt::xarray<double> array = field;
    const auto tucker = wasi::tensor::hosvd(wasi::of_order<3>(array), {.ranks = Energy{1.0 - 1e-8}});
    const auto& ranks = tucker.info.ranks;
    const std::size_t numbers =
        tucker.core.size() + tucker.bases[0].size() + tucker.bases[1].size() + tucker.bases[2].size();
    std::printf("tensor  ranks %td x %td x %td, relative error %.1e, %zu numbers instead of %zu\n", ranks[0], ranks[1],
                ranks[2], tucker.info.error, numbers, field.size());
    return matrix_error < 1e-5 && tucker.info.error < 2e-4 && 50 * numbers < field.size() ? 0 : 1;
}
