// What a user of xtensor writes: the factors of a matrix of rank one, and a look at how well they put it together
// again.
#include <wasi/linalg/randomized_svd.hpp>
#include <wasi/xtensor/family.hpp>

int main()
{
    const xt::xtensor<float, 1> x = xt::linspace<float>(1.0F, 2.0F, 60);
    const xt::xtensor<float, 2> a =
        xt::view(x, xt::all(), xt::newaxis()) * xt::view(x, xt::newaxis(), xt::range(0, 40));
    const auto svd = wasi::linalg::randomized_svd(a, {.rank = 1}, wasi::RandomKey(7));
    const xt::xtensor<float, 2> rest = a - svd.s(0) * svd.u * xt::transpose(svd.v);
    return xt::amax(xt::abs(rest))() < 1e-4F ? 0 : 1;
}
