#pragma once
#include <cstddef>
#include <limits>

#include "wasi/linalg/rank_rule.hpp"
#include "wasi/linalg/signs.hpp"

namespace wasi::linalg {

/// An option that the algorithm sets for itself.
inline constexpr Index as_needed = std::numeric_limits<Index>::min();

/// How a random sketch is brought closer to the leading singular vectors.
enum class SketchMethod {
    automatic,           ///< subspace iteration; block Krylov from there on where a fixed rank's values still move, and
                         ///< from the start for a fixed rank of a large operator without a matrix behind it
    subspace_iteration,  ///< (AAᵀ)^q AΩ: a basis as wide as the sketch
    block_krylov,        ///< AΩ, (AAᵀ)AΩ, ..., (AAᵀ)^q AΩ: wider by a sketch with each step, and sooner there
};

struct RandomizedSvdOptions {
    /// How many singular triplets to return: {.rank = 64}, {.rank = Energy{0.9}}, {.rank = Tolerance{1e-3}}, or the
    /// first of several that is met, {.rank = first_of(Energy{0.9}, 64)}.
    RankRule rank = Energy{0.99};
    /// Never more triplets than this; a rule that would need more ends with Status::rank_limit.
    Index max_rank = std::numeric_limits<Index>::max();
    /// Extra sample columns: five to ten make the failure probability of the error bound negligible (Halko et al.,
    /// Theorem 10.7).
    Index oversampling = 10;
    /// Power iterations, or Krylov steps, each two more passes over A. Automatic: two for rules that grow the sketch
    /// until they are met; for a fixed rank as many as the captured energy still grows by half a per cent, two at
    /// least: a spectrum that decays like 1/sqrt(j) settles at two or three, noise without decay needs seven.
    Index power_iterations = as_needed;
    /// First width of the sketch for rules that are not a fixed rank; it doubles until the rule is met.
    Index first_block = 16;
    /// Random vectors behind residual_estimate, whose relative standard deviation is at most 1 / sqrt(2 probes). They
    /// ride along with the first pass. 0: no estimate, where a matrix is at hand. Automatic: 8 for a matrix; 16 for an
    /// operator, whose rules live on them.
    Index probes = as_needed;
    SketchMethod method = SketchMethod::automatic;
    /// Columns of a Krylov block of a fixed rank. Narrow blocks reach the same error with fewer columns, in more
    /// passes; a singular value that comes more often than a block has columns is found only so many times. Automatic:
    /// as many as the sketch has, so that each pass brings most; for an operator without a matrix behind it whose steps
    /// are as many as needed 16, or an eighth of the sketch where that is more, and values that may come more often are
    /// looked for.
    Index krylov_block = as_needed;
    Signs signs = Signs::largest_right_positive;
    /// An operator without a matrix behind it is made dense, or given a sketch, of at most this many bytes. A rule that
    /// would need more ends with Status::rank_limit. Where the matrix is at hand there is no limit.
    std::size_t memory_limit = std::size_t{1} << 30;
};

namespace detail {

inline void check_options(const RandomizedSvdOptions& options, Index rows, Index cols)
{
    require<shape_error>(rows > 0 && cols > 0, "randomized_svd: empty matrix (", rows, ", ", cols, ")");
    require<argument_error>(options.oversampling >= 0, "randomized_svd: oversampling is ", options.oversampling);
    require<argument_error>(options.power_iterations >= 0 || options.power_iterations == as_needed,
                            "randomized_svd: power_iterations is ", options.power_iterations);
    require<argument_error>(options.max_rank >= 1, "randomized_svd: max_rank is ", options.max_rank);
    require<argument_error>(options.krylov_block >= 1 || options.krylov_block == as_needed,
                            "randomized_svd: krylov_block is ", options.krylov_block);
    require<argument_error>(options.first_block >= 1, "randomized_svd: first_block is ", options.first_block);
    require<argument_error>(options.probes >= 0 || options.probes == as_needed, "randomized_svd: probes is ",
                            options.probes);
}

}  // namespace detail

}  // namespace wasi::linalg
