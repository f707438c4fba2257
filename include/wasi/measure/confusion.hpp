#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "wasi/core/error.hpp"
#include "wasi/core/scalar.hpp"

namespace wasi::measure {

/// Which class was taken for which: counts (true class, predicted class). Memory: 24 bytes a class, and an entry for
/// each pair that occurs, so no more than one an example.
class ConfusionMatrix {
public:
    /// Throws argument_error below one class.
    explicit ConfusionMatrix(Index classes) : classes_(classes)
    {
        require<argument_error>(classes >= 1, "ConfusionMatrix: ", classes, " classes");
        for (auto* counts : {&correct_, &examples_, &predictions_}) {
            counts->resize(static_cast<std::size_t>(classes));
        }
    }

    /// Throws argument_error where one of them is no class.
    void add(std::int64_t label, Index predicted)
    {
        require<argument_error>(label >= 0 && label < classes_ && predicted >= 0 && predicted < classes_,
                                "ConfusionMatrix: label ", label, " and prediction ", predicted, " of ", classes_,
                                " classes");
        ++examples_[static_cast<std::size_t>(label)];
        ++predictions_[static_cast<std::size_t>(predicted)];
        ++total_;
        if (label == predicted) {
            ++correct_[static_cast<std::size_t>(label)];
        } else {
            ++mistakes_[{static_cast<Index>(label), predicted}];
        }
    }

    [[nodiscard]] Index classes() const { return classes_; }
    /// How many examples of class `label` were taken for `predicted`.
    [[nodiscard]] Index count(Index label, Index predicted) const
    {
        if (label == predicted) {
            return correct_[static_cast<std::size_t>(label)];
        }
        const auto found = mistakes_.find({label, predicted});
        return found == mistakes_.end() ? 0 : found->second;
    }
    [[nodiscard]] Index total() const { return total_; }
    [[nodiscard]] Index correct() const { return std::accumulate(correct_.begin(), correct_.end(), Index{0}); }
    /// Counts of those that were taken for another class, by (true class, predicted class).
    [[nodiscard]] const std::map<std::pair<Index, Index>, Index>& mistakes() const { return mistakes_; }
    /// Examples of this class.
    [[nodiscard]] Index examples(Index label) const { return examples_[static_cast<std::size_t>(label)]; }
    /// Examples taken for this class.
    [[nodiscard]] Index predictions(Index predicted) const { return predictions_[static_cast<std::size_t>(predicted)]; }

    /// 2 TP / (2 TP + FP + FN) of one class; NaN of a class that has neither an example nor a prediction.
    [[nodiscard]] double f1(Index label) const
    {
        const auto either = static_cast<double>(examples(label) + predictions(label));
        return 2.0 * static_cast<double>(count(label, label)) / either;
    }
    /// The mean of f1 over the classes that have an example or a prediction (as scikit-learn's f1_score with
    /// average="macro"); NaN without any.
    [[nodiscard]] double macro_f1() const
    {
        double sum = 0.0;
        double seen = 0.0;
        for (Index c = 0; c < classes_; ++c) {
            if (const double one = f1(c); !std::isnan(one)) {
                sum += one;
                seen += 1.0;
            }
        }
        return sum / seen;
    }

private:
    Index classes_;
    Index total_ = 0;
    std::vector<Index> correct_;  // by class, as the next two
    std::vector<Index> examples_;
    std::vector<Index> predictions_;
    std::map<std::pair<Index, Index>, Index> mistakes_;  // by (true, predicted)
};

/// A class and softmax's probability of it.
struct Guess {
    Index label = 0;
    double probability = 0.0;
};

/// The `count` classes of the largest logits, the likeliest first, of equal ones the first; fewer where there are not
/// so many classes. p_c = exp(z_c - max z) / sum, in double.
template <Scalar T>
[[nodiscard]] std::vector<Guess> likeliest(std::span<const T> logits, Index count)
{
    std::vector<Index> order(logits.size());
    std::iota(order.begin(), order.end(), Index{0});
    const auto kept = order.begin() + std::min<Index>(count, std::ssize(order));
    const auto at = [&](Index c) { return static_cast<double>(logits[static_cast<std::size_t>(c)]); };
    std::partial_sort(order.begin(), kept, order.end(),
                      [&](Index a, Index b) { return at(a) > at(b) || (at(a) == at(b) && a < b); });
    std::vector<Guess> result;
    if (order.empty()) {
        return result;
    }
    const double largest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
    const double sum = std::accumulate(logits.begin(), logits.end(), 0.0, [&](double before, T logit) {
        return before + std::exp(static_cast<double>(logit) - largest);
    });
    for (auto c = order.begin(); c != kept; ++c) {
        result.push_back({*c, std::exp(at(*c) - largest) / sum});
    }
    return result;
}

}  // namespace wasi::measure
