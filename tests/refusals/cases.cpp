// What must not compile, and with which sentence: each line with "refused:" is one error, and there is no other.
// refusals.sh compiles this file for syntax alone. Types differ from line to line, since a compiler says a thing once.
#include <Eigen/Dense>
#include <Eigen/SparseCore>
#include <complex>
#include <cstdint>
#include <span>
#include <unsupported/Eigen/CXX11/Tensor>
#include <vector>

#include <wasi/linalg/pca.hpp>
#include <wasi/linalg/principal_angles.hpp>
#include <wasi/linalg/qb.hpp>
#include <wasi/linalg/spectral_norm.hpp>
#include <wasi/linalg/sparse_operator.hpp>
#include <wasi/linalg/subspace_iteration.hpp>
#include <wasi/tensor/hooi.hpp>
#include <wasi/tensor/warm_tucker.hpp>

namespace {

using wasi::RandomKey;
using wasi::linalg::Energy;

template <class T, int N>
using Matrix = Eigen::Matrix<T, N, N>;
using Complex = std::complex<float>;

// clang-format off
void matrices(std::vector<float>& numbers)
{
    using namespace wasi::linalg;
    const RandomKey key(7);
    auto svd = randomized_svd(Matrix<Complex, 2>(), {.rank = 1}, key);           // refused: complex elements
    (void)truncated_svd(Matrix<Complex, 3>(), {.rank = 1});                      // refused: complex elements
    (void)orthonormalize(Eigen::MatrixXcd());                                    // refused: complex elements
    (void)pca(Matrix<Complex, 4>() * Matrix<Complex, 4>(), {.rank = 1}, key);    // refused: complex elements
    (void)truncated_svd(Matrix<Eigen::half, 2>());                               // refused: elements of 16 bits
    (void)pca(Matrix<Eigen::bfloat16, 2>(), {.rank = Energy{0.9}}, key);         // refused: elements of 16 bits
    (void)truncated_svd(Eigen::MatrixXi());                                      // refused: integer elements
    (void)randomized_svd(Eigen::ArrayXXi(), {}, key);                            // refused: integer elements
    (void)truncated_svd(Matrix<bool, 2>());                                      // refused: integer elements
    (void)truncated_svd(wasi::MatrixView<const int>());                          // refused: integer elements
    (void)orthonormalize(Matrix<long double, 2>());                              // refused: elements of this type
    (void)randomized_svd(Eigen::MatrixXf(), {.rank = 0.9}, key);                 // refused: a rank is an integer
    (void)truncated_svd(Eigen::MatrixXf(), {.rank = 0.9f});                      // refused: a rank is an integer
    (void)randomized_svd(Eigen::MatrixXd(), {.rank = 2});                        // refused: random numbers come from a key
    (void)randomized_svd(Eigen::MatrixXf());                                     // refused: random numbers come from a key
    (void)pca(Matrix<float, 2>(), {.rank = 2});                                  // refused: random numbers come from a key
    (void)qb(Matrix<Complex, 6>(), {.tolerance = 1e-3}, key);                    // refused: complex elements
    (void)qb(Matrix<double, 2>(), {.tolerance = 1e-3});                          // refused: random numbers come from a key
    (void)randomized_svd(Eigen::SparseMatrix<double>(), {.rank = 2});            // refused: random numbers come from a key
    (void)spectral_norm(Matrix<double, 3>());                                    // refused: random numbers come from a key
    (void)spectral_norm(Matrix<Eigen::half, 3>(), key);                          // refused: elements of 16 bits
    (void)spectral_norm(Eigen::MatrixXf(), std::uint64_t{7});                    // refused: a random key is written out
    (void)randomized_svd(Eigen::MatrixXf(), {.rank = 2}, 7);                     // refused: a random key is written out
    (void)pca(Eigen::MatrixXf(), {.rank = 2}, 7U);                               // refused: a random key is written out
    (void)truncated_svd(Eigen::SparseMatrix<float>());                           // refused: a sparse matrix
    (void)orthonormalize(Eigen::SparseMatrix<double>());                         // refused: a sparse matrix
    (void)truncated_svd(numbers);                                                // refused: do not say how many rows
    (void)truncated_svd(std::span<const float>(numbers));                        // refused: do not say how many rows
    (void)truncated_svd(numbers.data());                                         // refused: do not say how many rows
    (void)truncated_svd(std::vector<std::vector<double>>());                     // refused: do not say how many rows
    (void)truncated_svd(3.0);                                                    // refused: not a matrix of a type
    (void)truncated_svd(Eigen::Tensor<float, 3>());                              // refused: a tensor is not a matrix
    (void)truncated_svd(wasi::tensor_view(numbers, 2, 2, 2));                    // refused: a tensor is not a matrix
    (void)principal_angles(Eigen::MatrixXf(), Matrix<int, 2>());                 // refused: integer elements
    (void)principal_angles(Matrix<int, 3>(), Eigen::MatrixXf());                 // refused: integer elements
    Eigen::MatrixXf v;
    subspace_step(Matrix<Complex, 5>(), v);                                      // refused: complex elements
    subspace_step(Eigen::MatrixXd(), v);                                         // refused: the other arguments do not fit
}

void tensors(std::vector<double>& numbers, const wasi::Tensor<double>& tensor)
{
    using namespace wasi::tensor;
    const auto x = wasi::tensor_view(numbers, 2, 2, 2);
    auto tucker = hosvd(numbers, {.ranks = {Energy{0.9}, 2, 2}});                // refused: do not say their extents
    (void)hooi(tensor, {.ranks = Energy{0.9}, .max_sweeps = 3});                 // refused: does not say its order
    (void)hosvd(Eigen::Tensor<int, 3>());                                        // refused: integer elements
    (void)hosvd(Eigen::Tensor<Complex, 4>(), {.ranks = 2});                      // refused: complex elements
    (void)hosvd(Eigen::Tensor<double, 3>());                                     // refused: tensors of Eigen need the header
    (void)sequentially_truncated_hosvd(Eigen::MatrixXd(), {.ranks = 2, .order = {1, 0}});  // refused: a matrix has no Tucker form
    (void)hosvd(x, {.ranks = {2, 2}});                                           // refused: do not fit this tensor
    (void)hosvd(x, {.ranks = static_cast<long double>(0.9)});                    // refused: a rank is an integer
    (void)unfold(Eigen::VectorXd(), 1);                                          // refused: a matrix has no Tucker form
    (void)mode_product(numbers.data(), Eigen::MatrixXd(), 1);                    // refused: do not say their extents
    (void)warm_tucker_step(wasi::tensor_view(numbers, 4, 2), Eigen::MatrixXf(), {.ranks = 2});  // refused: do not fit this tensor
}
// clang-format on

}  // namespace
