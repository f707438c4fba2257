#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "subject.hpp"

namespace wasi_bench {

/// What to ask of each way of computing.
struct Grid {
    std::vector<wasi::Index> ranks;  ///< fixed ranks; of every mode of a tensor
    std::vector<double> energies;    ///< shares of the energy that the approximation holds at least
    int repeats = 3;                 ///< the median of this many times is kept
};

/// One approximation.
struct Measurement {
    std::string route;               ///< asked for: "dense", "randomized"; of tensors "hosvd", "sequential"
    std::string taken;               ///< what the algorithm did: a wide sketch ends in a dense decomposition
    std::string rule;                ///< "rank" or "energy"
    double asked = 0.0;              ///< the rank or the energy
    std::vector<wasi::Index> ranks;  ///< one of a matrix, one a mode of a tensor
    double captured_energy = 0.0;    ///< as the algorithm says
    double relative_error = 0.0;     ///< ||X - X~||_F / ||X||_F, of the product formed in full
    double optimal_error = 0.0;      ///< the best possible with these ranks; NaN where the spectrum is not known
    double bytes = 0.0;              ///< of two factors, or of core and bases
    double seconds = 0.0;            ///< median

    [[nodiscard]] wasi::Index largest_rank() const;
};

/// 1, 2, 3, 4, 6, 8, 12, .. up to `largest`, and that.
[[nodiscard]] std::vector<wasi::Index> rank_grid(wasi::Index largest);

/// The largest rank that changes anything.
[[nodiscard]] wasi::Index largest_rank(const Subject& subject);

/// Bytes of the matrix or tensor itself.
[[nodiscard]] double dense_bytes(const Subject& subject);

/// Every rank and energy of the grid by two routes: a dense and a randomized SVD of a matrix; of a tensor the HOSVD and
/// the sequentially truncated one, with the energy 1 - (1 - e) / N in each of N modes, so that at least e is held in
/// all. `tell` is called after each. Random numbers derive from `key`. Throws
/// argument_error for ranks below 1 and energies outside (0, 1].
[[nodiscard]] std::vector<Measurement> measure(const Subject& subject, const Grid& grid, wasi::RandomKey key,
                                               const std::function<void(const Measurement&)>& tell);

}  // namespace wasi_bench
