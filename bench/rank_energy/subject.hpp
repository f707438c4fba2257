#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include <wasi/core/random.hpp>
#include <wasi/storage/tensor.hpp>

namespace wasi_bench {

/// The matrix or tensor (order 2 to 4) that is approximated.
struct Subject {
    std::string title;               ///< "power:0.5", or the tensor's name in its file
    wasi::Tensor<float> values;      ///< (n_1, .., n_N)
    std::vector<double> spectrum{};  ///< singular values of every unfolding, from large to small; empty: not known
};

/// `count` singular values from large to small:
///
///     power:p        (j + 1)^-p
///     exponential:r  exp(-r j)
///     step:k         k ones, then 0.01
///     spiked:k       10, 5, 2.5, .. (k of them) above a bulk that falls evenly from 1 to 1 / count
///     clustered:c    groups of c equal values, each half of the one before
///
/// Without ":" p = 0.5, r = 0.05, k = 32 (step) or 4 (spiked), c = 8. Throws argument_error for anything else.
[[nodiscard]] std::vector<double> spectrum_values(const std::string& text, wasi::Index count);

/// sum_j s_j u_j ∘ v_j ∘ .. with random orthonormal u, v, ..: every unfolding has exactly these singular values, and
/// cutting the sum is the best approximation of its multilinear rank, for tensors too. Throws argument_error for an
/// unknown spectrum, shape_error unless the shape has two to four positive extents.
[[nodiscard]] Subject make_subject(const std::string& spectrum, const wasi::Shape& shape, wasi::RandomKey key);

/// A tensor of a safetensors file, of order 2 to 4. Throws io_error, and argument_error on NaN or infinity.
[[nodiscard]] Subject read_subject(const std::filesystem::path& file, const std::string& tensor);

/// The least relative error ||X - X~||_F / ||X||_F of any X~ whose unfolding has this rank in the mode that allows
/// least (Eckart, Young 1936); NaN where the spectrum is not known.
[[nodiscard]] double optimal_error(const Subject& subject, wasi::Index rank);

/// "3072x768" as a shape. Throws argument_error.
[[nodiscard]] wasi::Shape parse_shape(const std::string& text);

/// "3072x768" from the extents.
[[nodiscard]] std::string shape_name(const wasi::Shape& shape);

}  // namespace wasi_bench
