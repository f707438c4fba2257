#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "wasi/core/random.hpp"
#include "wasi/linalg/subspace_iteration.hpp"
#include "wasi/storage/state.hpp"
#include "wasi/subspace/compiled.hpp"

namespace wasi::subspace {

/// What an input is projected onto, Q (I,r), and by what its coordinates are weighted, c, so that X ~ X Q diag(c) Qᵀ:
///
///   gaussian     elements normal with variance 1/r, c = 1 (CompAct, arXiv 2410.15352); drawn again from a key whenever
///                they are needed, never held. Unbiased.
///   orthonormal  a random subspace, QᵀQ = 1, c = I/r. Unbiased, with less variance.
///   principal    the leading right singular vectors of inputs, followed from one refresh to the next, c = 1. Biased.
///   prac         r1 principal ones, c = 1, and r - r1 random ones of their complement, c = (I - r1)/(r - r1) (PRAC,
///                arXiv 2602.23111). Unbiased: the mean of the random part is the projection onto the complement.
///   velora       r groups of I/r features, each onto one and the same v of length 1, the mean of the groups of the
///                first input; c = scale (VeLoRA, arXiv 2405.17991). Biased.
enum class Projection : std::uint8_t { gaussian, orthonormal, principal, prac, velora };

[[nodiscard]] constexpr std::string_view to_string(Projection projection) noexcept
{
    switch (projection) {
        case Projection::gaussian:
            return "gaussian";
        case Projection::orthonormal:
            return "orthonormal";
        case Projection::principal:
            return "principal";
        case Projection::prac:
            return "prac";
        case Projection::velora:
            return "velora";
    }
    return "unknown";
}

struct InputProjectionOptions {
    Projection projection = Projection::gaussian;
    Index rank = 64;           ///< r; no more than there are features
    Index principal_rank = 0;  ///< r1 of prac; 0: half of r
    Index refresh_every = 50;  ///< another Q after so many inputs; 0: never. velora has none
    double scale = 1.0;        ///< of velora, times dW
};

/// The projection of one layer's input: Q and its refreshes. Held between steps: Q (I,r), of gaussian nothing.
/// Thread safety: one object, one thread at a time.
template <Scalar T, class S>
requires StorageFor<S, T>
class InputProjection {
public:
    /// `tag` is where Q is booked. Throws argument_error for a rank below 1 (of prac 2), a principal rank outside
    /// [0, rank), a refresh_every below 0 and a scale that is not finite.
    InputProjection(const InputProjectionOptions& options, RandomKey key, Memory& memory, Tag tag)
        : options_(options), key_(key), memory_(&memory), tag_(tag)
    {
        const Index least = options.projection == Projection::prac ? 2 : 1;
        require<argument_error>(
            options.rank >= least && options.principal_rank >= 0 && options.principal_rank < options.rank,
            "InputProjection: rank ", options.rank, " with ", options.principal_rank, " principal directions");
        require<argument_error>(options.refresh_every >= 0 && std::isfinite(options.scale),
                                "InputProjection: refresh_every ", options.refresh_every, ", scale ", options.scale);
    }

    /// Q of one time. It outlives a refresh.
    class Basis {
    public:
        /// Q (I,r); one that is not held is drawn now, and stays until this object goes.
        [[nodiscard]] ConstMatrixView<T> matrix(Memory& memory) const
        {
            if (!held_) {
                held_ = std::make_shared<Tensor<T>>(workspace<T>(memory, features_, rank_));
                S::fill_normal(held_->matrix(), key_);
                const auto deviation = static_cast<T>(1.0 / std::sqrt(static_cast<double>(rank_)));
                S::add_scaled(held_->matrix(), T(0), deviation, std::as_const(*held_).matrix());
            }
            return std::as_const(*held_).matrix();
        }
        [[nodiscard]] bool orthonormal() const { return orthonormal_; }

    private:
        friend class InputProjection;
        mutable std::shared_ptr<Tensor<T>> held_;
        RandomKey key_;
        Index features_ = 0;
        Index rank_ = 0;
        bool orthonormal_ = false;
    };

    struct Projected {
        Tensor<T> z;  ///< X Q diag(c), (n,r): workspace
        Basis basis;
    };

    /// Z for X (n,I), so that dW = (dYᵀ Z) Qᵀ: 2 n I r flops. The first call makes Q, one that is due refreshes it:
    /// principal directions take 4 n I r flops and the orthonormalisation of an (I,r) matrix, twice at first. Throws
    /// shape_error when I changes, argument_error where velora's groups do not divide I, divergence_error when a
    /// refresh meets NaN or infinity.
    [[nodiscard]] Projected project(ConstMatrixView<T> x)
    {
        require<shape_error>(basis_.features_ == 0 || basis_.features_ == x.cols, "InputProjection: X ",
                             shape_text(x.shape()), " after inputs with ", basis_.features_, " features");
        const bool due = options_.refresh_every > 0 && inputs_ % options_.refresh_every == 0;
        if (basis_.rank_ == 0 || due) {
            refresh(x);
        }
        ++inputs_;
        Projected result{workspace<T>(*memory_, x.rows, basis_.rank_), basis_};
        S::multiply(result.z.matrix(), T(1), x, result.basis.matrix(*memory_), T(0), *memory_);
        weigh(result.z.matrix());
        if (!held()) {
            result.basis.held_.reset();
        }
        return result;
    }

    [[nodiscard]] const InputProjectionOptions& options() const { return options_; }
    /// Q as it is now; its rank is 0 before the first input.
    [[nodiscard]] const Basis& basis() const { return basis_; }
    /// Refreshes so far, the first Q among them.
    [[nodiscard]] Index refreshes() const { return refreshes_; }

    /// Q and how many inputs there were.
    void state(State& visitor)
    {
        Tensor<T> none;
        Tensor<T>& held = basis_.held_ ? *basis_.held_ : none;
        visitor.tensor("basis", held, *memory_, tag_);
        if (!none.empty()) {
            basis_.held_ = std::make_shared<Tensor<T>>(std::move(none));
        }
        visitor.number("features", basis_.features_);
        visitor.number("rank", basis_.rank_);
        visitor.number("inputs", inputs_);
        visitor.number("refreshes", refreshes_);
        describe_basis();
    }

private:
    [[nodiscard]] bool held() const { return options_.projection != Projection::gaussian; }
    [[nodiscard]] Index principal_rank() const
    {
        const Index wished = options_.principal_rank > 0 ? options_.principal_rank : options_.rank / 2;
        return std::min(wished, basis_.rank_ - 1);
    }

    void describe_basis()
    {
        basis_.orthonormal_ = held();
        basis_.key_ = key_.derive(refreshes_);
    }

    void refresh(ConstMatrixView<T> x)
    {
        require<divergence_error>(S::all_finite(x), "the input of layer ", tag_.layer, " holds NaN or infinity");
        const bool first = basis_.rank_ == 0;
        if (options_.projection == Projection::velora && !first) {
            return;
        }
        basis_.features_ = x.cols;
        basis_.rank_ = std::min(options_.rank, x.cols);
        ++refreshes_;
        describe_basis();
        if (!held()) {
            return;
        }
        if (first || basis_.held_.use_count() > 1) {  // somebody still needs the one before
            auto fresh = std::make_shared<Tensor<T>>(*memory_, tag_, Shape{basis_.features_, basis_.rank_});
            if (!first) {
                S::copy(fresh->matrix(), std::as_const(*basis_.held_).matrix());
            }
            basis_.held_ = std::move(fresh);
        }
        const auto q = basis_.held_->matrix();
        switch (options_.projection) {
            case Projection::orthonormal:
                draw_orthonormal(q, basis_.key_);
                break;
            case Projection::principal:
                follow(q, x, first);
                break;
            case Projection::prac:
                if (principal_rank() > 0) {  // 0 where there is one feature
                    follow(q.col_block(0, principal_rank()), x, first);
                }
                draw_in_complement(q, principal_rank());
                break;
            case Projection::velora:
                take_mean_of_groups(q, x);
                break;
            case Projection::gaussian:
                break;
        }
    }

    void draw_orthonormal(MatrixView<T> q, RandomKey key)
    {
        S::fill_normal(q, key);
        (void)linalg::orthonormalize_columns<S, T>(q, *memory_);
    }

    /// One step towards the leading right singular vectors of X; from a random start two.
    void follow(MatrixView<T> q, ConstMatrixView<T> x, bool first)
    {
        if (first) {
            draw_orthonormal(q, basis_.key_.derive(1));  // not what is drawn for the complement
            linalg::subspace_step<S, T>(x, q, *memory_);
        }
        linalg::subspace_step<S, T>(x, q, *memory_);
    }

    /// Columns from `first` on become a random orthonormal basis of a subspace of the complement of those before.
    void draw_in_complement(MatrixView<T> q, Index first)
    {
        const auto own = q.col_block(first, q.cols - first);
        const ConstMatrixView<T> others = q.col_block(0, first);
        S::fill_normal(own, basis_.key_);
        Tensor<T> inner = workspace<T>(*memory_, first, own.cols);
        for (int pass = 0; pass < 2; ++pass) {  // twice: orthogonal to rounding, also where little is left
            S::multiply(inner.matrix(), T(1), others.transposed(), ConstMatrixView<T>(own), T(0), *memory_);
            S::multiply(own, T(-1), others, std::as_const(inner).matrix(), T(1), *memory_);
            (void)linalg::orthonormalize_columns<S, T>(own, *memory_);
        }
    }

    void take_mean_of_groups(MatrixView<T> q, ConstMatrixView<T> x)
    {
        const Index groups = q.cols;
        const Index width = q.rows / groups;
        require<argument_error>(width * groups == q.rows, "InputProjection: ", groups, " groups do not divide ", q.rows,
                                " features");
        Tensor<T> sums = workspace<T>(*memory_, groups, width);
        Tensor<T> mean = workspace<T>(*memory_, 1, width);
        S::column_sums(sums.span(), x, *memory_);
        S::column_sums(mean.span(), std::as_const(sums).matrix(), *memory_);
        const double norm = std::sqrt(S::dot(std::as_const(mean).matrix(), mean.matrix()));
        S::fill(q, T(0));
        for (Index group = 0; group < groups; ++group) {
            S::add_scaled(q.block(group * width, group, width, 1), T(0), static_cast<T>(norm > 0.0 ? 1.0 / norm : 0.0),
                          std::as_const(mean).matrix().transposed());
        }
    }

    /// Z = Z diag(c).
    void weigh(MatrixView<T> z) const
    {
        const auto scale = [&](MatrixView<T> columns, double weight) {
            if (weight != 1.0) {
                S::add_scaled(columns, T(0), static_cast<T>(weight), ConstMatrixView<T>(columns));
            }
        };
        const auto features = static_cast<double>(basis_.features_);
        if (options_.projection == Projection::orthonormal) {
            scale(z, features / static_cast<double>(z.cols));
        } else if (options_.projection == Projection::prac) {
            const Index r1 = principal_rank();
            const Index r2 = z.cols - r1;
            scale(z.col_block(r1, r2), (features - static_cast<double>(r1)) / static_cast<double>(r2));
        } else if (options_.projection == Projection::velora) {
            scale(z, options_.scale);
        }
    }

    InputProjectionOptions options_;
    RandomKey key_;
    Memory* memory_;
    Tag tag_;
    Basis basis_;
    Index inputs_ = 0;
    Index refreshes_ = 0;
};

WASI_COMPILED(WASI_SUBSPACE_INPUT_PROJECTION)

}  // namespace wasi::subspace
