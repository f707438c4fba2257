#pragma once
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <wasi/autograd/gradient.hpp>

namespace wasi_tests {

using wasi::Index;

/// The elements of a view by rows, as double.
template <class T>
[[nodiscard]] std::vector<double> elements(wasi::MatrixView<T> view)
{
    std::vector<double> result;
    for (Index i = 0; i < view.rows; ++i) {
        for (Index j = 0; j < view.cols; ++j) {
            result.push_back(static_cast<double>(view(i, j)));
        }
    }
    return result;
}

/// P Qᵀ by plain loops in double, by rows.
template <class T>
[[nodiscard]] std::vector<double> multiplied_out(const wasi::linalg::Factored<T>& m)
{
    std::vector<double> result;
    for (Index i = 0; i < m.rows(); ++i) {
        for (Index j = 0; j < m.cols(); ++j) {
            double sum = 0.0;
            for (Index k = 0; k < m.rank(); ++k) {
                sum += static_cast<double>(m.p(i, k)) * static_cast<double>(m.q(j, k));
            }
            result.push_back(sum);
        }
    }
    return result;
}

/// A sink that changes nothing and keeps what it is handed, by the parameter's name.
template <class T>
class RecordingSink final : public wasi::autograd::Sink<T> {
public:
    enum class Form { dense, factored, factor_gradients };
    struct Entry {
        int count = 0;  ///< how often the parameter was handed over
        Form form = Form::dense;
        std::vector<double> dense;   ///< dW; empty for factor gradients
        std::vector<double> d_left;  ///< factor gradients only
        std::vector<double> d_right;
    };

    void take(wasi::autograd::Parameter& parameter, const wasi::autograd::Gradient<T>& gradient) override
    {
        Entry& entry = entries_[parameter.name()];
        ++entry.count;
        if (const auto* dense = std::get_if<wasi::autograd::Dense<T>>(&gradient)) {
            entry.form = Form::dense;
            entry.dense = elements(dense->values);
        } else if (const auto* factored = std::get_if<wasi::linalg::Factored<T>>(&gradient)) {
            entry.form = Form::factored;
            entry.dense = multiplied_out(*factored);
        } else {
            const auto& factors = std::get<wasi::linalg::FactorGradients<T>>(gradient);
            entry.form = Form::factor_gradients;
            entry.d_left = elements(factors.d_left);
            entry.d_right = elements(factors.d_right);
        }
    }

    [[nodiscard]] bool has(const std::string& name) const { return entries_.contains(name); }
    [[nodiscard]] const Entry& at(const std::string& name) const { return entries_.at(name); }
    [[nodiscard]] std::size_t size() const { return entries_.size(); }
    void clear() { entries_.clear(); }

private:
    std::map<std::string, Entry> entries_;
};

}  // namespace wasi_tests
