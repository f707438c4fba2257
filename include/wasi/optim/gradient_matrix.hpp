#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <variant>

#include "wasi/core/random.hpp"
#include "wasi/core/word_hash.hpp"
#include "wasi/linalg/product_svd.hpp"
#include "wasi/linalg/randomized_svd.hpp"
#include "wasi/linalg/subspace_iteration.hpp"
#include "wasi/optim/gradient_norms.hpp"
#include "wasi/storage/scale.hpp"

namespace wasi::optim {

/// The gradient G (m,n) of a matrix, dense or P Qᵀ, known by its products: what optimisers need that work in a small
/// space. A factored one is never multiplied out. A view: valid while the gradient is handed over.
template <Scalar T, class S>
class GradientMatrix {
public:
    /// Throws argument_error for the gradients of two factors, shape_error where it does not fit the values.
    GradientMatrix(const autograd::Gradient<T>& gradient, ConstMatrixView<T> values, std::string_view name)
    {
        if (const auto* dense = std::get_if<autograd::Dense<T>>(&gradient)) {
            dense_ = shaped_like<T>(dense->values, values);
            return;
        }
        const auto* factored = std::get_if<linalg::Factored<T>>(&gradient);
        require<argument_error>(factored != nullptr, "optimiser: factor gradients for the dense parameter ", name);
        require<shape_error>(factored->rows() == values.rows && factored->cols() == values.cols,
                             "optimiser: a gradient (", factored->rows(), ", ", factored->cols(), ") for ", name, ' ',
                             shape_text(values.shape()));
        p_ = factored->p;
        q_ = factored->q;
        factored_ = true;
    }

    [[nodiscard]] Index rows() const { return factored_ ? p_.rows : dense_.rows; }
    [[nodiscard]] Index cols() const { return factored_ ? q_.rows : dense_.cols; }
    [[nodiscard]] GradientMatrix transposed() const
    {
        GradientMatrix other = *this;
        std::swap(other.p_, other.q_);
        other.dense_ = dense_.transposed();
        return other;
    }

    /// Y = alpha G X for X (n,k): 2 m n k flops, of a factored G of rank r 2 (m + n) r k and a workspace r k.
    void multiply(MatrixView<T> y, T alpha, ConstMatrixView<T> x, Memory& memory) const
    {
        if (!factored_) {
            S::multiply(y, alpha, dense_, x, T(0), memory);
            return;
        }
        Tensor<T> inner = workspace<T>(memory, q_.cols, x.cols);
        S::multiply(inner.matrix(), T(1), q_.transposed(), x, T(0), memory);
        S::multiply(y, alpha, p_, std::as_const(inner).matrix(), T(0), memory);
    }

    /// G multiplied out where it is factored, for who works on its elements; else nothing. See dense_or.
    [[nodiscard]] Tensor<T> expanded(Memory& memory) const
    {
        if (!factored_) {
            return {};
        }
        Tensor<T> result(memory, Tag{Use::gradient, 0}, Shape{rows(), cols()});
        S::multiply(result.matrix(), T(1), p_, q_.transposed(), T(0), memory);
        return result;
    }
    /// G as it is, or what expanded() made of it.
    [[nodiscard]] ConstMatrixView<T> dense_or(const Tensor<T>& expanded) const
    {
        return factored_ ? expanded.matrix() : dense_;
    }

    /// W <- W + size G, in place.
    void add_to(MatrixView<T> w, T size, Memory& memory) const
    {
        if (factored_) {
            S::multiply(w, size, p_, q_.transposed(), T(1), memory);
        } else {
            S::add_scaled(w, T(1), size, dense_);
        }
    }

    /// V (n,k), k <= n, becomes the leading right singular vectors of G, signs as in linalg::settle_signs: eigenvectors
    /// of GᵀG in double, m n² + 4/3 n³ flops, workspace n² doubles; of a factored G of rank r linalg::product_svd,
    /// 4 (m + n) r² flops, and where r < k random directions beside them. Throws divergence_error where the iteration
    /// does not converge.
    void leading(MatrixView<T> v, RandomKey key, Memory& memory) const
    {
        if (factored_) {
            const Index found = std::min({v.cols, p_.cols, rows(), cols()});
            const auto svd = linalg::product_svd<S, T>({p_, q_}, {.rank = found}, memory);
            fill(v, svd.v.matrix(), key, memory);
            return;
        }
        const Index n = cols();
        Tensor<double> gram = workspace<double>(memory, n, n);
        Tensor<double> values = host_row<double>(memory, n);
        S::gram(gram.matrix(), 0.0, dense_, memory);
        const Index got = S::eigh_leading(
            gram.matrix(), values.span(), [&](std::span<const double>) { return v.cols; }, memory);
        require<divergence_error>(got == v.cols, "optimiser: the eigenvectors of a gradient's Gram matrix ", n, " x ",
                                  n, " did not converge");
        S::convert(v, std::as_const(gram).matrix().col_block(0, v.cols));
        linalg::settle_signs<S, T>(none(v.cols), v, memory);
    }

    /// The same by linalg::randomized_svd with two power iterations, 12 m n (k + 10) flops and workspace
    /// (m + n)(k + 10); of a factored G as leading().
    void leading_randomized(MatrixView<T> v, RandomKey key, Memory& memory) const
    {
        if (factored_) {
            leading(v, key, memory);
            return;
        }
        const auto svd =
            linalg::randomized_svd<S, T>(dense_, {.rank = v.cols, .power_iterations = 2, .probes = 0}, key, memory);
        fill(v, svd.v.matrix(), key.derive(1), memory);
    }

    /// One warm step towards them: V <- orth(Gᵀ G V) (linalg::subspace_step). V stays as it is where G V is zero.
    /// 4 m n k flops, of a factored G 4 (m + n) r k; then an orthonormalisation of V.
    void follow(MatrixView<T> v, Memory& memory) const
    {
        Tensor<T> image = workspace<T>(memory, rows(), v.cols);
        multiply(image.matrix(), T(1), v, memory);
        // Its size does not matter to the span, and squares of small gradients would vanish.
        const double largest = S::largest(std::as_const(image).matrix());
        if (largest == 0.0) {
            return;
        }
        S::add_scaled(image.matrix(), T(0), static_cast<T>(power_of_two(-scale_exponent<T>(largest))),
                      std::as_const(image).matrix());
        transposed().multiply(v, T(1), std::as_const(image).matrix(), memory);
        (void)linalg::orthonormalize_columns<S, T>(v, memory);
    }

private:
    [[nodiscard]] static MatrixView<T> none(Index cols) { return MatrixView<T>::row_major(nullptr, 0, cols); }

    /// V from the directions that were found, and random ones where there are too few.
    static void fill(MatrixView<T> v, ConstMatrixView<T> found, RandomKey key, Memory& memory)
    {
        S::copy(v.col_block(0, found.cols), found);
        if (found.cols < v.cols) {
            S::fill_normal(v.col_block(found.cols, v.cols - found.cols), key);
            (void)linalg::orthonormalize_columns<S, T>(v, memory);
        }
    }

    ConstMatrixView<T> dense_{};
    ConstMatrixView<T> p_{};
    ConstMatrixView<T> q_{};
    bool factored_ = false;
};

/// A key for what an optimiser draws for this parameter in this step: the same whoever else is trained.
[[nodiscard]] inline RandomKey key_of(std::uint64_t seed, std::string_view name, Index step)
{
    WordHash hash;
    for (const char letter : name) {
        hash.mix(static_cast<unsigned char>(letter));
    }
    return RandomKey(seed).derive(hash.value(), step);
}

}  // namespace wasi::optim
