#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "wasi/core/parallel.hpp"
#include "wasi/storage/concept.hpp"
#include "wasi/storage/eigen/pieces.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi {

/// A Memory that wants to know more of a dry run than what is booked.
class DryRunMemory : public Memory {
public:
    /// Threads of the real run: so many workspaces may be alive at once inside a parallel_for.
    [[nodiscard]] virtual Index threads() const noexcept = 0;
    /// An upper bound of what a primitive takes beside the books at this moment: Eigen's packed operands, and the
    /// copies inside its decompositions.
    virtual void unbooked(std::size_t bytes) noexcept = 0;
};

/// What a dry run answers where a real one would look at numbers.
enum class DryAnswers {
    usual,  ///< as on ordinary data: every decomposition succeeds, columns are independent, bases orthonormal to
            ///< rounding
    worst,  ///< what takes most: CholeskyQR needs a third pass and gives up, small systems are refused, bases are far
            ///< off
};

namespace detail {

/// How many calls of a primitive may be under way at once here.
[[nodiscard]] inline Index concurrent_calls(Memory& memory)
{
    const auto* run = dynamic_cast<const DryRunMemory*>(&memory);
    return std::min(parallel_width(), run != nullptr ? run->threads() : Index{1});
}

/// Allocates and releases `count` elements, or as many blocks of them as may be alive at once in a real run.
template <Scalar T>
void pass_through(Memory& memory, Index count)
{
    const Tensor<T> taken(memory, Tag{}, Shape{count});
    std::vector<Tensor<T>> beside;
    for (Index other = concurrent_calls(memory); other > 1; --other) {
        beside.emplace_back(memory, Tag{}, Shape{count});
    }
}

inline void tell_unbooked(Memory& memory, double bytes)
{
    if (auto* run = dynamic_cast<DryRunMemory*>(&memory)) {
        run->unbooked(static_cast<std::size_t>(bytes * static_cast<double>(concurrent_calls(memory))));
    }
}

/// Bytes that a product of this size packs: both operands at most, and no more than fits Eigen's blocks, a thread each.
template <Scalar T>
[[nodiscard]] double packed_bytes(Memory& memory, Index m, Index n, Index k)
{
    constexpr double most = 2.0 * 1024.0 * 1024.0;  // of one thread: kc (mc + nc) elements
    const auto* run = dynamic_cast<const DryRunMemory*>(&memory);
    const double whole = static_cast<double>(sizeof(T)) * static_cast<double>(k) * static_cast<double>(m + n);
    return std::min(whole, most * (run != nullptr ? static_cast<double>(run->threads()) : 1.0));
}

/// Bytes of `count` square matrices of order n in double.
[[nodiscard]] inline double squares_in_double(double count, Index n)
{
    return count * 8.0 * static_cast<double>(n) * static_cast<double>(n);
}

}  // namespace detail

/// A storage that computes nothing: no primitive does arithmetic or reads an element, but each takes and frees the same
/// workspaces through its Memory as EigenStorage and counts the same flops. An algorithm of the engine run on it books
/// what the real run will book, in the same order, in next to no time and without touching the pages it is given. Where
/// EigenStorage's need depends on data, `usual` takes what ordinary data take and `worst` the upper bound. The few
/// numbers that algorithms look at are set: singular values and eigenvalues are 1 (`worst`: the last eigenvalue is 0),
/// cross entropy is 0, everything is finite, and dot products are as below. Results are not set: who runs on it must
/// not look at them. Run it on one thread; on a DryRunMemory, workspaces taken inside a parallel_for are booked as
/// often as they may be alive at once on several. Thread safety: stateless. Tested against EigenStorage primitive by
/// primitive in tests/storage/dry_test.cpp.
template <DryAnswers answers>
struct DryStorageWith {
    template <class T>
    using In = std::type_identity_t<ConstMatrixView<T>>;
    template <class T>
    using InRow = std::type_identity_t<std::span<const T>>;
    template <class T>
    using Out = std::type_identity_t<MatrixView<T>>;
    template <class T>
    using OutRow = std::type_identity_t<std::span<T>>;
    template <class T>
    using Value = std::type_identity_t<T>;

    template <Scalar T>
    static void multiply(MatrixView<T> c, Value<T>, In<T> a, In<T>, Value<T>, Memory& memory)
    {
        const Index k = a.cols;
        memory.count_flops(2.0 * number(c.rows) * number(c.cols) * number(k));
        // EigenStorage computes a column-major C as Cᵀ = Bᵀ Aᵀ.
        const auto [m, n] = c.is_row_major() ? std::array{c.rows, c.cols} : std::array{c.cols, c.rows};
        const auto tiles = eigen::product_tiles(m, n, k);
        detail::tell_unbooked(memory, detail::packed_bytes<T>(memory, m, n, k));
        if (tiles.depth_chunks > 1) {
            detail::pass_through<T>(memory, tiles.depth_chunks * m * n);
        }
    }

    /// Householder: a column-major copy, the unit matrix and Q.
    template <Scalar T>
    [[nodiscard]] static Index orthonormalize(MatrixView<T> a, Memory& memory)
    {
        if (a.cols == 0) {
            return 0;
        }
        const double m = number(a.rows);
        const double n = number(a.cols);
        memory.count_flops(4.0 * m * n * n - 4.0 / 3.0 * n * n * n);
        detail::tell_unbooked(memory, 128.0 * static_cast<double>(sizeof(T)) * (m + n));
        const Tensor<T> copied = workspace<T>(memory, a.cols, a.rows);
        const Tensor<T> identity = workspace<T>(memory, a.cols, a.cols);
        const Tensor<T> q = workspace<T>(memory, a.cols, a.rows);
        return a.cols;
    }

    /// `usual`: the two passes of CholeskyQR2. `worst`: five passes, and A as it was.
    template <Scalar T>
    [[nodiscard]] static Index cholesky_orthonormalize(MatrixView<T> a, Memory& memory)
    {
        const Index n = a.cols;
        if (n == 0) {
            return 0;
        }
        Tensor<T> q = workspace<T>(memory, 0, 0);
        const Tensor<T> inverse = workspace<T>(memory, n, n);
        Tensor<double> square = workspace<double>(memory, n, n);
        constexpr int passes = answers == DryAnswers::usual ? 2 : 5;
        for (int pass = 0; pass < passes; ++pass) {
            gram<T>(square.matrix(), 0.0, a, memory);
            detail::tell_unbooked(memory, detail::squares_in_double(6.0, n));
            memory.count_flops(number(n) * number(n) * number(n));
            const auto multiply_upper = [&](MatrixView<T> to) {
                for (Index first = 0; first < n; first += eigen::triangle_block) {
                    const Index cols = std::min(eigen::triangle_block, n - first);
                    multiply<T>(to.col_block(first, cols), T(1), a.col_block(0, first + cols),
                                inverse.matrix().block(0, first, first + cols, cols), T(0), memory);
                }
            };
            if (answers == DryAnswers::usual && pass > 0) {
                multiply_upper(a);
                return n;
            }
            Tensor<T> next = workspace<T>(memory, a.rows, n);
            multiply_upper(next.matrix());
            q = std::move(next);
        }
        return -1;
    }

    template <class T>
    static void gram(MatrixView<double>, double, MatrixView<T> a, Memory& memory)
    {
        const Index n = a.cols;
        memory.count_flops(number(a.rows) * number(n) * number(n + 1));
        detail::tell_unbooked(memory, 8.0 * detail::squares_in_double(4.0, std::min(n, eigen::gram_tile + 32)) +
                                          detail::packed_bytes<double>(memory, n, n, a.rows));
        if (const Index pieces = eigen::gram_pieces(a.rows, n); pieces > 0) {
            detail::pass_through<double>(memory, pieces * n * n);
        }
    }

    template <class T>
    [[nodiscard]] static bool svd(MatrixView<T> a, Out<std::remove_const_t<T>>, OutRow<std::remove_const_t<T>> s,
                                  Out<std::remove_const_t<T>>, Memory& memory)
    {
        using Real = std::remove_const_t<T>;
        const auto [m, n] = std::array{std::max(a.rows, a.cols), std::min(a.rows, a.cols)};
        if (n == 0) {
            return true;
        }
        memory.count_flops(6.0 * number(m) * number(n) * number(n) + 20.0 * number(n) * number(n) * number(n));
        detail::tell_unbooked(
            memory, detail::squares_in_double(14.0, n) + 128.0 * static_cast<double>(sizeof(Real)) * number(m + n));
        const Tensor<Real> copied = workspace<Real>(memory, n, m);
        const Tensor<Real> q = workspace<Real>(memory, n, m);
        std::fill(s.begin(), s.begin() + n, Real(1));
        return true;
    }

    template <Scalar T>
    [[nodiscard]] static bool eigh(MatrixView<T> a, OutRow<T> w, Memory& memory)
    {
        const double n = number(a.rows);
        memory.count_flops(9.0 * n * n * n);
        detail::tell_unbooked(memory, detail::squares_in_double(4.0, a.rows));
        std::fill(w.begin(), w.begin() + a.rows, T(1));
        return true;
    }

    template <class Real = double>
    [[nodiscard]] static Index eigh_leading(MatrixView<Real> a, OutRow<Real> w, const ChooseCount& choose,
                                            Memory& memory)
    {
        const Index n = a.rows;
        if (n == 0) {
            return 0;
        }
        std::fill(w.begin(), w.begin() + n, Real(1));
        if (answers == DryAnswers::worst && n > 1) {
            w[static_cast<std::size_t>(n - 1)] = Real(0);
        }
        detail::tell_unbooked(memory, detail::squares_in_double(4.0, n));
        const double order = number(n);
        const Index count = std::clamp<Index>(choose(w), 0, n);
        if (n > 32) {
            memory.count_flops(4.0 / 3.0 * order * order * order);
            if (count == 0) {
                return 0;
            }
            if (2 * count <= n + n / 4) {
                memory.count_flops(2.0 * order * order * number(count));
                return count;
            }
        }
        memory.count_flops(9.0 * order * order * order);
        return count;
    }

    /// `worst` refuses systems in double, which are those that callers can do without (subspace::rank_r_update).
    template <Scalar T>
    [[nodiscard]] static bool solve_spd(MatrixView<T> a, Out<T> b, Memory& memory)
    {
        const double n = number(a.rows);
        memory.count_flops(n * n * n / 3.0 + 2.0 * n * n * number(b.cols));
        const Tensor<T> copied = workspace<T>(memory, b.cols, b.rows);
        return answers == DryAnswers::usual || sizeof(T) < sizeof(double);
    }

    template <Scalar T>
    static void copy(MatrixView<T>, In<T>)
    {
    }
    template <Scalar To, class From>
    static void convert(MatrixView<To>, MatrixView<From>)
    {
    }
    template <Scalar T>
    static void add_scaled(MatrixView<T>, Value<T>, Value<T>, In<T>)
    {
    }

    /// `usual`: 9 epsilon² sqrt(size). For G - 1 of order n that makes a defect of 3 sqrt(n) epsilon, which is
    /// rounding: not worth a repair, but corrected where U of an SVD is asked to be exact. `worst`: the size, as if
    /// every element were 1, and so a defect of n.
    template <class T>
    [[nodiscard]] static double dot(MatrixView<T> a, In<std::remove_const_t<T>>)
    {
        if constexpr (answers == DryAnswers::worst) {
            return number(a.size());
        } else {
            constexpr auto rounding = static_cast<double>(epsilon<std::remove_const_t<T>>);
            return 9.0 * rounding * rounding * std::sqrt(number(a.size()));
        }
    }
    template <class T>
    [[nodiscard]] static bool all_finite(MatrixView<T>)
    {
        return true;
    }
    template <class T>
    [[nodiscard]] static double largest(MatrixView<T>)
    {
        return 1.0;
    }
    template <Scalar T>
    static void fill_normal(MatrixView<T>, RandomKey)
    {
    }

    template <Scalar T>
    static void add_to_rows(MatrixView<T>, InRow<T>)
    {
    }
    template <Scalar T>
    static void column_sums(std::span<T>, In<T> y, Memory& memory)
    {
        detail::pass_through<T>(memory, pieces_of(y.rows, y.cols) * y.cols);
    }
    template <Scalar T>
    static void multiply_elements(MatrixView<T>, In<T>)
    {
    }
    template <Scalar T>
    static void gelu(MatrixView<T>, In<T>)
    {
    }
    template <Scalar T>
    static void gelu_backward(MatrixView<T>, In<T>, In<T>)
    {
    }
    template <Scalar T>
    static void relu(MatrixView<T>, In<T>)
    {
    }
    template <Scalar T>
    static void relu_backward(MatrixView<T>, In<T>, In<T>)
    {
    }
    template <Scalar T>
    static void softmax(MatrixView<T>, Value<T>)
    {
    }
    template <Scalar T>
    static void softmax_backward(MatrixView<T>, In<T>, Value<T>)
    {
    }
    template <Scalar T>
    static void layer_norm(MatrixView<T>, OutRow<T>, OutRow<T>, In<T>, InRow<T>, InRow<T>, Value<T>)
    {
    }
    template <Scalar T>
    static void layer_norm_backward(MatrixView<T>, OutRow<T>, OutRow<T>, In<T>, In<T> x, InRow<T>, InRow<T>, InRow<T>,
                                    Memory& memory)
    {
        const Index pieces = pieces_of(x.rows, x.cols);
        const Tensor<T> gain_sums = workspace<T>(memory, pieces, x.cols);
        const Tensor<T> bias_sums = workspace<T>(memory, pieces, x.cols);
        const Tensor<T> normalised_rows = workspace<T>(memory, pieces, x.cols);
    }
    template <Scalar T>
    [[nodiscard]] static double cross_entropy(MatrixView<T>, In<T>, std::span<const std::int64_t>)
    {
        return 0.0;
    }
    template <class T>
    static void pack(std::span<std::uint16_t>, MatrixView<T>, Precision)
    {
    }
    template <Scalar T>
    static void unpack(MatrixView<T>, std::span<const std::uint16_t>, Precision)
    {
    }
    template <Scalar T>
    static void adamw_step(MatrixView<T>, Out<T>, Out<T>, In<T>, const AdamWStep<T>&)
    {
    }

private:
    [[nodiscard]] static constexpr double number(Index value) { return static_cast<double>(value); }
    [[nodiscard]] static Index pieces_of(Index rows, Index cols)
    {
        const Index height = eigen::rows_per_piece(cols);
        return (rows + height - 1) / height;
    }
};

/// A run on ordinary data.
using DryStorage = DryStorageWith<DryAnswers::usual>;
/// A run in which whatever can take more does.
using WorstDryStorage = DryStorageWith<DryAnswers::worst>;

static_assert(OptimizerStorageFor<DryStorage, float> && OptimizerStorageFor<DryStorage, double>);
static_assert(OptimizerStorageFor<WorstDryStorage, float> && OptimizerStorageFor<WorstDryStorage, double>);

}  // namespace wasi
