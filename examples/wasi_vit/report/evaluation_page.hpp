#pragma once
#include <string>
#include <vector>

#include <wasi/measure/confusion.hpp>

#include "report/picture_figures.hpp"

namespace wasi_examples {

/// How a model did on a data set.
struct Evaluation {
    std::string weights;
    std::string data;
    wasi::measure::ConfusionMatrix matrix{1};
    std::vector<std::string> classes;  ///< a name for each
    double low = 0.0;                  ///< 95 % interval of accuracy
    double high = 0.0;
    std::vector<ShownPicture> mistakes;  ///< the most confident ones first

    [[nodiscard]] double accuracy() const
    {
        return static_cast<double>(matrix.correct()) / static_cast<double>(matrix.total());
    }
};

/// One class taken for another, and how often.
struct Confusion {
    wasi::Index label = 0;
    wasi::Index predicted = 0;
    wasi::Index count = 0;
};

/// Which classes are taken for which most often, at most `most` of them.
[[nodiscard]] std::vector<Confusion> worst_confusions(const wasi::measure::ConfusionMatrix& matrix, std::size_t most);

/// Accuracy, macro F1 and who is taken for whom, for a terminal: the whole matrix of up to `wide` classes, of more
/// classes the worst pairs.
[[nodiscard]] std::string evaluation_text(const Evaluation& evaluation);
[[nodiscard]] std::string evaluation_json(const Evaluation& evaluation);
[[nodiscard]] std::string evaluation_page(const Evaluation& evaluation);

}  // namespace wasi_examples
