#pragma once
#include <string>
#include <vector>

#include <wasi/core/scalar.hpp>

namespace wasi_examples {

/// One linear layer W (outputs, inputs) of a weight file, and its spectrum. "Energy" is spectral energy, ||W||_F².
struct InspectedLayer {
    std::string name;             ///< "encoder_layer_3.mlp.0"
    wasi::Index block = 0;        ///< 3
    std::string part;             ///< "mlp.0"
    wasi::Index outputs = 0;      ///< O
    wasi::Index inputs = 0;       ///< I
    wasi::Index stored_rank = 0;  ///< of the factors L (O,K) and R (K,I) in the file; 0 where the file holds W itself
    double energy = 0.0;          ///< the sum of all squared singular values
    std::vector<double> values;   ///< singular values that are not rounding, from large to small
};

/// A layer cut to the fewest singular values that hold `threshold` of its energy.
struct Cut {
    double threshold = 0.0;
    wasi::Index rank = 0;          ///< K
    double captured_energy = 1.0;  ///< of the rank-K approximation
    double relative_error = 0.0;   ///< ||W - W_K||_F / ||W||_F of it; its square and the captured energy add up to 1
    bool stays_dense = false;      ///< K is not below break-even, so two factors would be no smaller
    double bytes = 0.0;            ///< of what the layer is then held as
    double flops_ratio = 1.0;      ///< of its forward product against the dense one: K (O + I) / (O I), or 1
};

/// All chosen layers of a file.
struct Inspection {
    std::string file;
    std::vector<double> thresholds;  ///< ascending
    std::vector<InspectedLayer> layers;
    double stored_bytes = 0.0;  ///< of these layers as the file holds them, some perhaps as factors
    double other_bytes = 0.0;   ///< of everything else in the file
};

/// Sums over a file at one threshold.
struct CutTotals {
    double threshold = 0.0;
    double layer_bytes = 0.0;        ///< of the chosen layers
    double model_bytes = 0.0;        ///< with everything else
    double layer_compression = 1.0;  ///< dense bytes of the chosen layers over layer_bytes
    double model_compression = 1.0;
    wasi::Index dense_layers = 0;  ///< how many stay dense
};

/// A number in the engine has four bytes, whatever type the file keeps it in.
inline constexpr double bytes_of_number = 4.0;

/// K* = O I / (O + I): from this rank on, two factors are no smaller than the dense weight.
[[nodiscard]] double break_even_rank(const InspectedLayer& layer);

/// Bytes of the dense weight.
[[nodiscard]] double dense_bytes(const InspectedLayer& layer);

/// captured[k] is the share of the energy that the first k singular values hold, k = 0 .. number of values; all 1 for a
/// zero weight.
[[nodiscard]] std::vector<double> energy_curve(const InspectedLayer& layer);

/// The layer at a threshold in (0, 1]; the rank is the one that training would choose (linalg::Energy).
[[nodiscard]] Cut cut_at(const InspectedLayer& layer, double threshold);

/// All chosen layers with every weight dense: what the compressions are relative to.
[[nodiscard]] double dense_layer_bytes(const Inspection& inspection);

[[nodiscard]] CutTotals totals_at(const Inspection& inspection, double threshold);

/// "0.9", "0.95", "0.999": a threshold in as few digits as tell it.
[[nodiscard]] std::string threshold_text(double threshold);

/// Ranks by layer and sums by threshold, on standard output.
void print_tables(const Inspection& inspection);

/// inspect.csv, a line for each layer and threshold:
/// layer,threshold,rank,bytes,dense_bytes,flops_ratio,relative_error,captured_energy,held
[[nodiscard]] std::string inspect_csv(const Inspection& inspection);

/// inspect.json: all of it, with the singular values.
[[nodiscard]] std::string inspect_json(const Inspection& inspection);

/// The whole as one HTML file that loads nothing: sizes by threshold, energy curves, ranks by layer.
[[nodiscard]] std::string inspect_page(const Inspection& inspection);

}  // namespace wasi_examples
