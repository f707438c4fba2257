#include "subject.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include <wasi/io/safetensors.hpp>
#include <wasi/storage/eigen.hpp>

namespace wasi_bench {
namespace {

using wasi::argument_error;
using wasi::Index;
using wasi::require;
using wasi::Shape;
using wasi::Tensor;
using S = wasi::EigenStorage;

/// The number after the colon of "power:0.5"; `otherwise` where there is none.
[[nodiscard]] double parameter_of(const std::string& text, double otherwise)
{
    const std::size_t colon = text.find(':');
    if (colon == std::string::npos) {
        return otherwise;
    }
    double value = 0.0;
    const char* const end = text.data() + text.size();
    const auto [stop, failure] = std::from_chars(text.data() + colon + 1, end, value);
    require<argument_error>(failure == std::errc() && stop == end && std::isfinite(value) && value > 0.0,
                            "--spectrum: '", text, "' does not end in a positive number");
    return value;
}

[[nodiscard]] Shape shape_of(const std::vector<Index>& extents)
{
    switch (extents.size()) {
        case 2:
            return Shape{extents[0], extents[1]};
        case 3:
            return Shape{extents[0], extents[1], extents[2]};
        default:
            return Shape{extents[0], extents[1], extents[2], extents[3]};
    }
}

[[nodiscard]] Tensor<float> random_orthonormal(Index rows, Index cols, wasi::RandomKey key)
{
    auto q = wasi::workspace<float>(wasi::plain_memory(), rows, cols);
    S::fill_normal(q.matrix(), key);
    (void)S::orthonormalize(q.matrix(), wasi::plain_memory());
    return q;
}

/// Column r of the result is the outer product of columns r of a and b: (n_a n_b, k).
[[nodiscard]] Tensor<float> columnwise_outer(const Tensor<float>& a, const Tensor<float>& b)
{
    const auto left = a.matrix();
    const auto right = b.matrix();
    auto result = wasi::workspace<float>(wasi::plain_memory(), left.rows * right.rows, left.cols);
    for (Index i = 0; i < left.rows; ++i) {
        for (Index j = 0; j < right.rows; ++j) {
            for (Index r = 0; r < left.cols; ++r) {
                result.matrix()(i * right.rows + j, r) = left(i, r) * right(j, r);
            }
        }
    }
    return result;
}

}  // namespace

std::vector<double> spectrum_values(const std::string& text, Index count)
{
    const std::string kind = text.substr(0, text.find(':'));
    std::vector<double> values(static_cast<std::size_t>(count));
    const auto fill = [&](auto value) {
        for (Index j = 0; j < count; ++j) {
            values[static_cast<std::size_t>(j)] = value(static_cast<double>(j));
        }
    };
    if (kind == "power") {
        const double power = parameter_of(text, 0.5);
        fill([&](double j) { return std::pow(j + 1.0, -power); });
    } else if (kind == "exponential") {
        const double rate = parameter_of(text, 0.05);
        fill([&](double j) { return std::exp(-rate * j); });
    } else if (kind == "step") {
        const double ones = parameter_of(text, 32.0);
        fill([&](double j) { return j < ones ? 1.0 : 0.01; });
    } else if (kind == "spiked") {
        const double spikes = parameter_of(text, 4.0);
        fill([&](double j) {
            const double bulk = 1.0 - j / static_cast<double>(count);
            return j < spikes ? std::max(10.0 * std::pow(0.5, j), bulk) : bulk;
        });
    } else if (kind == "clustered") {
        const double size = parameter_of(text, 8.0);
        fill([&](double j) { return std::pow(0.5, std::floor(j / size)); });
    } else {
        throw argument_error(
            wasi::message("--spectrum: '", kind, "' is none of power, exponential, step, spiked, clustered"));
    }
    return values;
}

Subject make_subject(const std::string& spectrum, const Shape& shape, wasi::RandomKey key)
{
    require<wasi::shape_error>(shape.order() >= 2 && shape.order() <= 4 && shape.size() > 0,
                               "--shape: ", shape_name(shape), " is not two to four positive extents");
    const Index count = *std::min_element(shape.begin(), shape.end());
    Subject subject{spectrum, Tensor<float>(wasi::plain_memory(), {}, shape), spectrum_values(spectrum, count)};
    auto first = random_orthonormal(shape[0], count, key.derive(0));
    for (Index j = 0; j < count; ++j) {
        const auto column = first.matrix().col_block(j, 1);
        S::add_scaled(column, static_cast<float>(subject.spectrum[static_cast<std::size_t>(j)]), 0.0F, column);
    }
    auto others = random_orthonormal(shape.back(), count, key.derive(shape.order() - 1));
    for (std::size_t mode = shape.order() - 2; mode > 0; --mode) {
        others = columnwise_outer(random_orthonormal(shape[mode], count, key.derive(mode)), others);
    }
    const auto unfolded = wasi::MatrixView<float>::row_major(subject.values.data(), shape[0], shape.size() / shape[0]);
    S::multiply(unfolded, 1.0F, std::as_const(first).matrix(), std::as_const(others).matrix().transposed(), 0.0F,
                wasi::plain_memory());
    return subject;
}

Subject read_subject(const std::filesystem::path& path, const std::string& tensor)
{
    const wasi::io::SafetensorsFile file(path);
    const auto& shape = file.info(tensor).shape;
    require<wasi::io_error>(shape.size() >= 2 && shape.size() <= 4 &&
                                std::all_of(shape.begin(), shape.end(), [](Index extent) { return extent > 0; }),
                            path.string(), ": tensor ", tensor, " has shape ", wasi::shape_text(shape),
                            ", two to four positive extents are expected");
    Subject subject{tensor, Tensor<float>(wasi::plain_memory(), {}, shape_of(shape))};
    file.read(tensor, subject.values.span());
    require<argument_error>(S::all_finite(std::as_const(subject.values).matrix()), path.string(), ": tensor ", tensor,
                            " holds NaN or infinity");
    return subject;
}

double optimal_error(const Subject& subject, Index rank)
{
    if (subject.spectrum.empty()) {
        return std::numeric_limits<double>::quiet_NaN();
    }
    double total = 0.0;
    double tail = 0.0;
    for (std::size_t j = subject.spectrum.size(); j-- > 0;) {  // from the small end
        total += subject.spectrum[j] * subject.spectrum[j];
        tail = static_cast<Index>(j) == rank ? total : tail;
    }
    return std::sqrt(tail / total);
}

Shape parse_shape(const std::string& text)
{
    std::vector<Index> extents;
    const char* at = text.data();
    const char* const end = at + text.size();
    bool good = true;
    for (bool more = true; more && good;) {
        Index extent = 0;
        const auto [stop, failure] = std::from_chars(at, end, extent);
        good = failure == std::errc() && extent > 0 && extents.size() < 4;
        extents.push_back(extent);
        more = good && stop != end;
        good = good && (stop == end || (*stop == 'x' && stop + 1 != end));
        at = more ? stop + 1 : stop;
    }
    require<argument_error>(good && extents.size() >= 2, "--shape: '", text,
                            "' is not two to four positive extents like 3072x768 or 64x50x768");
    return shape_of(extents);
}

std::string shape_name(const Shape& shape)
{
    std::string name;
    for (const Index extent : shape) {
        name += (name.empty() ? "" : "x") + std::to_string(extent);
    }
    return name;
}

}  // namespace wasi_bench
