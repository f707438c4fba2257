#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include <support/engines.hpp>
#include <support/spectra.hpp>
#include <wasi/linalg/randomized_svd.hpp>

// Krylov spaces of a fixed rank in blocks that are narrower than the sketch.
namespace {

using wasi::ConstMatrixView;
using wasi::EigenStorage;
using wasi::Index;
using wasi::MatrixView;
using wasi::Memory;
using wasi::RandomKey;
using wasi::linalg::randomized_svd;
using wasi::linalg::RandomizedSvdOptions;
using wasi::linalg::Route;
using wasi::linalg::SketchMethod;
using wasi::linalg::SvdFactors;
using wasi::linalg::truncated_svd;
using wasi_tests::Matrix;
using wasi_tests::matrix_with_spectrum;

/// A matrix behind its products, which counts the columns that it is multiplied with.
template <class T>
struct Counting {
    const Matrix<T>* a;
    mutable Index columns = 0;

    [[nodiscard]] Index rows() const { return a->view().rows; }
    [[nodiscard]] Index cols() const { return a->view().cols; }
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        columns += x.cols;
        EigenStorage::multiply(y, T(1), a->view(), x, T(0), memory);
    }
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        columns += x.cols;
        EigenStorage::multiply(y, T(1), a->view().transposed(), x, T(0), memory);
    }
};

template <class T>
struct Result {
    SvdFactors<T> svd;
    Index columns;
    double lost;  // share of the leading energy
};

template <class T>
[[nodiscard]] Result<T> decompose(const Matrix<T>& a, const RandomizedSvdOptions& options)
{
    const auto exact = truncated_svd<EigenStorage, T>(a.view(), {.rank = options.rank}, wasi::plain_memory());
    const Counting<T> products{&a};
    auto svd = randomized_svd<EigenStorage, T, Counting<T>>(products, options, RandomKey(1), wasi::plain_memory());
    double whole = 0.0;
    double lost = 0.0;
    for (Index j = 0; j < exact.s.size(); ++j) {
        const auto s = static_cast<double>(exact.s.data()[j]);
        const auto found = static_cast<double>(svd.s.data()[j]);
        whole += s * s;
        lost += s * s - found * found;
    }
    return {std::move(svd), products.columns, lost / whole};
}

template <class T>
void check_bases(const SvdFactors<T>& svd)
{
    CHECK(wasi_tests::orthonormality_defect(svd.u.matrix()) <= wasi_tests::tolerance<T>(svd.u.matrix().rows, 1.0));
    CHECK(wasi_tests::orthonormality_defect(svd.v.matrix()) <= wasi_tests::tolerance<T>(svd.v.matrix().rows, 1.0));
}

TEST_CASE_TEMPLATE("narrow blocks lose less of the energy than wide ones, with fewer columns", T, float, double)
{
    const auto a = wasi_tests::random_matrix<T>(500, 400, 4);
    RandomizedSvdOptions options{.rank = 22, .power_iterations = 3, .method = SketchMethod::block_krylov};
    const auto wide = decompose(a, options);  // as wide as the sketch: 32
    options.power_iterations = 10;
    options.krylov_block = 11;
    const auto narrow = decompose(a, options);
    CHECK(narrow.lost < wide.lost);
    CHECK(narrow.columns < wide.columns);
    CHECK(narrow.svd.info.passes > wide.svd.info.passes);
    check_bases(wide.svd);
    check_bases(narrow.svd);
}

TEST_CASE_TEMPLATE("as needed: the values of a flat spectrum, from fewer columns than wide blocks take for them", T,
                   float, double)
{
    const auto a = wasi_tests::random_matrix<T>(900, 700, 4);
    for (const auto method : {SketchMethod::automatic, SketchMethod::block_krylov}) {
        const auto narrow = decompose(a, {.rank = 22, .method = method});
        CHECK(narrow.svd.info.route == Route::randomized);
        CHECK(narrow.lost <= 5e-3);
        check_bases(narrow.svd);
        for (Index steps = 1;; ++steps) {
            const auto wide =
                decompose(a, {.rank = 22, .power_iterations = steps, .method = SketchMethod::block_krylov});
            if (wide.lost <= narrow.lost) {
                CHECK(narrow.columns < wide.columns);
                break;
            }
            REQUIRE(steps < 10);
        }
    }
}

TEST_CASE_TEMPLATE("as needed: a value that comes more often than a block has columns", T, float, double)
{
    // A Krylov space of 16 columns a block holds 16 vectors of the 24, whatever its length.
    for (const Index first : {0, 5}) {
        wasi_tests::Values values = wasi_tests::exponential(400, 0.97);
        for (double& value : values) {
            value *= 0.8;
        }
        for (Index j = 0; j < 24; ++j) {
            values.push_back(1.0);
        }
        for (Index j = 0; j < first; ++j) {
            values.push_back(2.0 + static_cast<double>(j));
        }
        std::sort(values.rbegin(), values.rend());
        values.resize(400);
        const auto a = matrix_with_spectrum<T>(500, 400, values, 3);
        const Index rank = 24 + first;
        const auto found = decompose(a, {.rank = rank, .method = SketchMethod::block_krylov});
        for (Index j = 0; j < rank; ++j) {
            CAPTURE(j);
            CHECK(static_cast<double>(found.svd.s.data()[j]) >= 0.98 * values[static_cast<std::size_t>(j)]);
        }
        check_bases(found.svd);
    }
}

TEST_CASE("as needed: few passes where the spectrum is steep, and low rank is ordinary")
{
    const auto steep = matrix_with_spectrum<double>(300, 250, wasi_tests::exponential(250, 0.8), 4);
    const auto few = decompose(steep, {.rank = 10});
    CHECK(few.lost <= 1e-3);
    CHECK(few.svd.info.passes <= 9);
    wasi_tests::Values values(250, 0.0);
    std::fill_n(values.begin(), 3, 1.0);
    const auto low = matrix_with_spectrum<double>(300, 250, values, 4);
    const auto three = decompose(low, {.rank = 30, .method = SketchMethod::block_krylov});
    CHECK(three.lost <= 1e-12);
    check_bases(three.svd);
}

TEST_CASE("as needed: a sketch that has no room to grow misses no copies")
{
    const auto a = matrix_with_spectrum<double>(50, 40, wasi_tests::step(40, 30, 0.1), 1);
    RandomizedSvdOptions options{.rank = 20, .method = SketchMethod::block_krylov};
    options.memory_limit = 0;  // or this would be dense
    const auto all = decompose(a, options);
    CHECK(all.svd.info.route == Route::randomized);
    CHECK(all.lost <= 1e-2);  // a block that misses copies loses 0.04
    check_bases(all.svd);
}

TEST_CASE("a block of no columns is refused")
{
    const auto a = wasi_tests::random_matrix<double>(50, 40, 1);
    CHECK_THROWS_AS((void)decompose(a, {.rank = 2, .krylov_block = 0}), wasi::argument_error);
}

}  // namespace
