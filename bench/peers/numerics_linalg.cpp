// The rows of numerics.cpp on principal components, QB, sparse matrices and flat spectra.
#include <Eigen/SparseCore>
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <wasi/linalg/incremental_pca.hpp>
#include <wasi/linalg/pca.hpp>
#include <wasi/linalg/qb.hpp>
#include <wasi/linalg/randomized_svd.hpp>
#include <wasi/linalg/sparse_operator.hpp>

#include "numerics_row.hpp"

namespace peers {

namespace {

using wasi::linalg::RandomizedSvdOptions;
using wasi::linalg::SketchMethod;

/// Components and variances of (100000,64) points by whatever `decompose` does.
class PcaRow final : public Row {
public:
    using Factors = wasi::linalg::PcaFactors<float>;
    using Decompose = std::function<Factors(ConstMatrixView<float>)>;

    PcaRow(const std::filesystem::path& data, Decompose decompose)
        : a_(load(wasi::io::SafetensorsFile(data / "points.safetensors"), "a")), decompose_(std::move(decompose))
    {
    }

    void round() override { factors_ = decompose_(std::as_const(a_).matrix()); }

    std::string write(const std::filesystem::path& path) override
    {
        round();
        factors_.explained_variance.reshape(Shape{factors_.explained_variance.size()});
        wasi::io::write_safetensors(
            path, {entry("variances", factors_.explained_variance), entry("components", factors_.components)});
        return wasi::message(factors_.info.svd.passes, " passes");
    }

private:
    Tensor<float> a_;
    Decompose decompose_;
    Factors factors_;
};

[[nodiscard]] PcaRow::Factors components_by_batches(ConstMatrixView<float> a)
{
    wasi::linalg::IncrementalPca<float, S> pca({.rank = 16});
    constexpr Index batch = 1000;
    for (Index first = 0; first < a.rows; first += batch) {
        pca.add(a.row_block(first, std::min(batch, a.rows - first)));
    }
    return pca.factors();
}

class QbRow final : public Row {
public:
    explicit QbRow(const std::filesystem::path& data)
        : a_(load<double>(wasi::io::SafetensorsFile(data / "exponential.safetensors"), "a"))
    {
    }

    void round() override
    {
        // The peers do without power iterations here.
        factors_ = wasi::linalg::qb<S, double>(std::as_const(a_).matrix(), {.tolerance = 1e-6, .power_iterations = 0},
                                               RandomKey(1), memory());
    }

    std::string write(const std::filesystem::path& path) override
    {
        round();
        wasi::io::write_safetensors(path, {entry("q", factors_.q), entry("b", factors_.b)});
        return wasi::message("rank ", factors_.info.rank, ", ", factors_.info.passes, " passes");
    }

private:
    Tensor<double> a_;
    wasi::linalg::QbFactors<double> factors_;
};

/// Singular values, with their vectors, of a matrix that `Data` holds.
template <class Data>
class ValuesRow final : public Row {
public:
    ValuesRow(const std::filesystem::path& data, const RandomizedSvdOptions& options) : a_(data), options_(options) {}

    void round() override { factors_ = a_.decompose(options_); }

    std::string write(const std::filesystem::path& path) override
    {
        round();
        factors_.s.reshape(Shape{factors_.s.size()});
        wasi::io::write_safetensors(path, {entry("s", factors_.s)});
        return wasi::message("rank ", factors_.info.rank, ", ", factors_.info.passes, " passes");
    }

private:
    Data a_;
    RandomizedSvdOptions options_;
    wasi::linalg::SvdFactors<typename Data::Scalar> factors_;
};

/// (3000,2000) normals
class Flat {
public:
    using Scalar = float;

    explicit Flat(const std::filesystem::path& data)
        : a_(load(wasi::io::SafetensorsFile(data / "flat.safetensors"), "a"))
    {
    }
    [[nodiscard]] auto decompose(const RandomizedSvdOptions& options) const
    {
        return wasi::linalg::randomized_svd<S, float>(a_.matrix(), options, RandomKey(1), memory());
    }

private:
    Tensor<float> a_;
};

/// Sparse (20000,5000), compressed rows as scipy has them.
class Documents {
public:
    using Scalar = double;

    explicit Documents(const std::filesystem::path& data)
    {
        const wasi::io::SafetensorsFile file(data / "documents.safetensors");
        const auto integers = [&](const std::string& name) {
            std::vector<std::int64_t> wide(static_cast<std::size_t>(file.info(name).element_count()));
            file.read(name, std::span(wide));
            return wide;
        };
        const auto narrow = [](const std::vector<std::int64_t>& wide) {
            std::vector<int> result(wide.size());
            std::transform(wide.begin(), wide.end(), result.begin(), [](auto i) { return static_cast<int>(i); });
            return result;
        };
        shape_ = integers("shape");
        starts_ = narrow(integers("starts"));
        columns_ = narrow(integers("columns"));
        values_ = load<double>(file, "values");
    }
    [[nodiscard]] auto decompose(const RandomizedSvdOptions& options) const
    {
        using Map = Eigen::Map<const Eigen::SparseMatrix<double, Eigen::RowMajor>>;
        const Map a(static_cast<int>(shape_[0]), static_cast<int>(shape_[1]), static_cast<int>(columns_.size()),
                    starts_.data(), columns_.data(), values_.data());
        return wasi::linalg::randomized_svd<S, double>(wasi::linalg::SparseOperator<Map>(a), options, RandomKey(1),
                                                       memory());
    }

private:
    std::vector<std::int64_t> shape_;
    std::vector<int> starts_;
    std::vector<int> columns_;
    Tensor<double> values_;
};

}  // namespace

std::unique_ptr<Row> make_linalg_row(const std::string& name, const std::filesystem::path& data)
{
    if (name == "pca") {
        return std::make_unique<PcaRow>(data, [](ConstMatrixView<float> a) {
            return wasi::linalg::pca<S, float>(a, {.rank = 8, .scores = false}, RandomKey(1), memory());
        });
    }
    if (name == "incremental_pca") {
        return std::make_unique<PcaRow>(data, components_by_batches);
    }
    if (name == "qb") {
        return std::make_unique<QbRow>(data);
    }
    if (name == "sparse_default") {
        return std::make_unique<ValuesRow<Documents>>(data, RandomizedSvdOptions{.rank = 32});
    }
    if (name == "sparse_krylov") {
        return std::make_unique<ValuesRow<Documents>>(
            data, RandomizedSvdOptions{
                      .rank = 32, .power_iterations = 23, .method = SketchMethod::block_krylov, .krylov_block = 8});
    }
    if (name == "flat_default") {
        return std::make_unique<ValuesRow<Flat>>(data, RandomizedSvdOptions{.rank = 20});
    }
    if (name == "flat_krylov") {
        return std::make_unique<ValuesRow<Flat>>(
            data, RandomizedSvdOptions{.rank = 20, .method = SketchMethod::block_krylov});
    }
    return nullptr;
}

}  // namespace peers
