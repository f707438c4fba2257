// The leading singular triplets of matrices that are never formed: a sparse one, and one known only by its products.
#include <Eigen/SparseCore>
#include <cmath>
#include <cstdio>
#include <vector>

#include <wasi/linalg/sparse_operator.hpp>

using wasi::ConstMatrixView;
using wasi::Index;
using wasi::MatrixView;
using wasi::linalg::Energy;

namespace {

/// The Hilbert-like matrix a_ij = 1 / (1 + i + j), computed as it is needed. Anything with these four members is an
/// operator; squared_norm() would be a fifth, and saves estimating it.
struct Hilbert {
    Index size;

    [[nodiscard]] Index rows() const { return size; }
    [[nodiscard]] Index cols() const { return size; }
    void apply(MatrixView<double> y, ConstMatrixView<double> x, wasi::Memory&) const
    {
        wasi::parallel_for(size, [&](Index i) {
            for (Index column = 0; column < x.cols; ++column) {
                double sum = 0.0;
                for (Index j = 0; j < size; ++j) {
                    sum += x(j, column) / static_cast<double>(1 + i + j);
                }
                y(i, column) = sum;
            }
        });
    }
    void apply_adjoint(MatrixView<double> y, ConstMatrixView<double> x, wasi::Memory& memory) const
    {
        apply(y, x, memory);  // symmetric
    }
};

}  // namespace

int main()
{
    const wasi::RandomKey key(7);

    // A sparse 2000 x 500 matrix with four entries a row, rows falling off.
    std::vector<Eigen::Triplet<float>> entries;
    for (int i = 0; i < 2000; ++i) {
        for (std::uint64_t k = 0; k < 4; ++k) {
            const wasi::RandomKey entry = key.derive(static_cast<std::uint64_t>(i), k);
            entries.emplace_back(i, static_cast<int>(entry.below(0, 500)),
                                 static_cast<float>(entry.normal(1)) / (1.0F + 0.2F * static_cast<float>(i)));
        }
    }
    Eigen::SparseMatrix<float> sparse(2000, 500);
    sparse.setFromTriplets(entries.begin(), entries.end());
    const auto svd = wasi::linalg::randomized_svd(sparse, {.rank = Energy{0.9}}, key);
    std::printf("sparse (2000, 500): rank %td holds %.1f %% of the energy, largest value %.3f\n", svd.info.rank,
                100.0 * svd.info.captured_energy, static_cast<double>(svd.s(0)));

    // An operator: its singular values fall so fast that a handful is all there is.
    const Hilbert hilbert{400};
    const auto factors = wasi::linalg::randomized_svd<wasi::EigenStorage, double>(
        hilbert, {.rank = wasi::linalg::Tolerance{1e-8}}, key, wasi::plain_memory());
    std::printf("operator (400, 400): rank %td leaves an estimated %.1e of a norm of %.3f\n", factors.info.rank,
                factors.info.residual_estimate, factors.s.data()[0]);

    const float error = (Eigen::MatrixXf(sparse) - svd.u * svd.s.asDiagonal() * svd.v.transpose()).norm();
    return error <= std::sqrt(0.1F) * sparse.norm() && factors.info.rank < 20 && factors.info.residual_estimate < 1e-7
               ? 0
               : 1;
}
