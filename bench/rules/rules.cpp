// rules [COUNT] [SEED]: random rank rules on random matrices, each answer held against its true error.
//
// A decomposition that says Status::ok has met its rule, or this program counts a miss and ends with status 1. Energies
// up to 1 - 1e-12, tolerances down to 1e-13, fixed ranks; spectra from flat to 0.5^j, clusters, gaps, low rank; 30 to
// 1,000,000 rows; float and double; scales from 1e-150 to 1e150 (1e-30 to 1e30 in float). Errors are formed in long
// double (in double for large matrices, where that sees a relative error of 1e-15).
#include <Eigen/QR>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include <wasi/linalg/cur.hpp>
#include <wasi/linalg/interpolative.hpp>
#include <wasi/linalg/pca.hpp>
#include <wasi/linalg/pivoted_qr.hpp>
#include <wasi/linalg/product_svd.hpp>
#include <wasi/linalg/qb.hpp>
#include <wasi/linalg/randomized_svd.hpp>
#include <wasi/linalg/sparse_operator.hpp>

namespace {

using wasi::ConstMatrixView;
using wasi::EigenStorage;
using wasi::Index;
using wasi::MatrixView;
using wasi::Memory;
using wasi::RandomKey;
namespace linalg = wasi::linalg;
template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Uniform numbers in a row.
class Dice {
public:
    explicit Dice(RandomKey key) : key_(key) {}
    double uniform(double low, double high) { return low + (high - low) * key_.uniform(at_++); }
    Index below(Index bound) { return key_.below(at_++, bound); }
    bool once_in(Index n) { return below(n) == 0; }

private:
    RandomKey key_;
    std::uint64_t at_ = 0;
};

/// A matrix that only says what it does to vectors, with its norm or without.
template <class T, bool says_norm>
class Hidden {
public:
    explicit Hidden(const Matrix<T>& a) : a_(&a) {}
    [[nodiscard]] Index rows() const { return a_->rows(); }
    [[nodiscard]] Index cols() const { return a_->cols(); }
    [[nodiscard]] double squared_norm() const requires says_norm { return a_->template cast<double>().squaredNorm(); }
    void apply(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const { multiply(y, view(), x, memory); }
    void apply_adjoint(MatrixView<T> y, ConstMatrixView<T> x, Memory& memory) const
    {
        multiply(y, view().transposed(), x, memory);
    }

private:
    [[nodiscard]] ConstMatrixView<T> view() const
    {
        return ConstMatrixView<T>::row_major(a_->data(), a_->rows(), a_->cols());
    }
    static void multiply(MatrixView<T> y, ConstMatrixView<T> a, ConstMatrixView<T> x, Memory& memory)
    {
        EigenStorage::multiply(y, T(1), a, x, T(0), memory);
    }
    const Matrix<T>* a_;
};

Eigen::VectorXd spectrum(Index count, Dice& dice, std::string& name)
{
    Eigen::VectorXd s(count);
    const Index kind = dice.below(8);
    const double ratio = dice.uniform(0.5, 0.99);
    const double power = dice.uniform(0.3, 3.0);
    const Index edge = 1 + dice.below(count);
    const double low = std::pow(10.0, -dice.uniform(1.0, 12.0));
    const Index width = 1 + dice.below(12);
    for (Index j = 0; j < count; ++j) {
        const auto at = static_cast<double>(j);
        switch (kind) {
            case 0:
                s(j) = 1.0;
                break;
            case 1:
                s(j) = std::pow(ratio, at);
                break;
            case 2:
                s(j) = std::pow(0.5, at);
                break;
            case 3:
                s(j) = std::pow(at + 1.0, -power);
                break;
            case 4:
                s(j) = j < edge ? 1.0 : low;
                break;
            case 5:
                s(j) = std::pow(ratio, std::floor(at / static_cast<double>(width)) * static_cast<double>(width));
                break;
            case 6:
                s(j) = j < edge ? std::pow(ratio, at) : 0.0;
                break;
            default:
                s(j) = (j < edge ? 1.0 : low) * std::pow(at + 1.0, -0.5);
                break;
        }
    }
    static const char* const names[] = {"flat", "ratio^j",  "0.5^j",    "(j+1)^-p",
                                        "gap",  "clusters", "low rank", "gap and decay"};
    name = names[kind];
    return s;
}

Matrix<double> orthonormal(Index rows, Index cols, RandomKey key)
{
    Matrix<double> q(rows, cols);
    EigenStorage::fill_normal(MatrixView<double>::row_major(q.data(), rows, cols), key);
    (void)EigenStorage::orthonormalize(MatrixView<double>::row_major(q.data(), rows, cols), wasi::plain_memory());
    return q;
}

/// ||A - X Y||_F and ||A||_F.
template <class T>
std::pair<double, double> true_error(const Matrix<T>& a, const Matrix<T>& x, const Matrix<T>& y)
{
    if (a.size() * x.cols() < Index{20'000'000}) {
        using Wide = Matrix<long double>;
        const Wide wide = a.template cast<long double>();
        const Wide rest = wide - x.template cast<long double>() * y.template cast<long double>();
        return {static_cast<double>(rest.norm()), static_cast<double>(wide.norm())};
    }
    const Matrix<double> wide = a.template cast<double>();
    const Matrix<double> rest = wide - x.template cast<double>() * y.template cast<double>();
    return {rest.stableNorm(), wide.stableNorm()};
}

struct Answer {
    linalg::Status status = linalg::Status::ok;
    Index rank = 0;
    double bound = -1.0;
    double error = 0.0;
    double norm = 0.0;
};

template <class T, class F>
Answer svd_answer(const Matrix<T>& a, const F& f)
{
    Answer answer{f.info.status, f.info.rank, f.info.residual_bound};
    Matrix<T> us(a.rows(), f.info.rank);
    Matrix<T> vt(f.info.rank, a.cols());
    const auto map = [](const auto& view) { return Eigen::Map<const Matrix<T>>(view.data, view.rows, view.cols); };
    us = map(f.u.matrix());
    vt = map(f.v.matrix()).transpose();
    // The product of U and s would be rounded once more in T: the scale is part of the factors as they are.
    Matrix<long double> scaled = us.template cast<long double>();
    for (Index j = 0; j < f.info.rank; ++j)
        scaled.col(j) *= static_cast<long double>(f.s.data()[j]);
    if (a.size() * f.info.rank < Index{20'000'000}) {
        const Matrix<long double> wide = a.template cast<long double>();
        answer.error = static_cast<double>((wide - scaled * vt.template cast<long double>()).norm());
        answer.norm = static_cast<double>(wide.norm());
    } else {
        const double unit = std::ldexp(1.0, -std::ilogb(static_cast<double>(a.cwiseAbs().maxCoeff())));
        const Matrix<double> wide = a.template cast<double>() * unit;
        const Matrix<double> left = (scaled * static_cast<long double>(unit)).template cast<double>();
        answer.error = (wide - left * vt.template cast<double>()).norm() / unit;
        answer.norm = wide.norm() / unit;
    }
    return answer;
}

template <class T, class F>
Answer qb_answer(const Matrix<T>& a, const F& f)
{
    Answer answer{f.info.status, f.info.rank, f.info.residual_bound};
    const Matrix<T> q = Eigen::Map<const Matrix<T>>(f.q.data(), a.rows(), f.info.rank);
    const Matrix<T> b = Eigen::Map<const Matrix<T>>(f.b.data(), f.info.rank, a.cols());
    std::tie(answer.error, answer.norm) = true_error<T>(a, q, b);
    return answer;
}

/// ||A - X Y||_F of factors in a user's types.
template <class T, class Info>
Answer product_answer(const Matrix<T>& a, const Matrix<T>& x, const Matrix<T>& y, const Info& info, Index rank)
{
    Answer answer{info.status, rank};
    std::tie(answer.error, answer.norm) = true_error<T>(a, x, y);
    return answer;
}

struct Tally {
    Index asked = 0, ok = 0, limited = 0, refused = 0, missed = 0, needless = 0, bound_broken = 0;
    double worst = 0.0;  // error over what the rule allows, of answers that say ok
    std::string worst_case;
};

template <class T>
void one_rule(std::uint64_t number, RandomKey key, std::map<std::string, Tally>& tallies)
{
    Dice dice(key.derive(number));
    const bool tall = dice.once_in(25);
    Index rows = static_cast<Index>(std::pow(10.0, dice.uniform(1.48, 2.9)));
    Index cols = static_cast<Index>(std::pow(10.0, dice.uniform(0.6, 2.6)));
    if (tall) {
        rows = static_cast<Index>(std::pow(10.0, dice.uniform(4.5, 6.0)));
        cols = 3 + dice.below(std::max<Index>(2, 3'000'000 / rows));
        cols = std::min<Index>(cols, 40);
    }
    std::string name;
    const Index count = std::min(rows, cols);
    const Eigen::VectorXd s = spectrum(count, dice, name);
    const bool single = std::is_same_v<T, float>;
    const double scale =
        dice.once_in(3) ? std::pow(10.0, single ? dice.uniform(-30, 30) : dice.uniform(-150, 150)) : 1.0;
    Matrix<double> exact = orthonormal(rows, count, key.derive(number, 1)) * s.asDiagonal() *
                           orthonormal(cols, count, key.derive(number, 2)).transpose();
    Matrix<T> a = (exact * scale).template cast<T>();
    if (dice.once_in(2) && !tall)
        a = Matrix<T>(a.transpose());

    double allowed = -1.0;  // share of ||A||² that may be lost
    linalg::RankRule rule = 1;
    Index fixed = 0;
    std::string text;
    const Index kind = dice.below(10);
    if (kind < 5) {
        const double tolerance = std::pow(10.0, -dice.uniform(0.2, 13.0));
        rule = linalg::Tolerance{tolerance};
        allowed = tolerance * tolerance;
        text = "tolerance " + std::to_string(std::log10(tolerance));
    } else if (kind < 9) {
        const double lost = std::pow(10.0, -dice.uniform(0.1, kind < 7 ? 2.0 : 12.0));
        rule = linalg::Energy{1.0 - lost};
        allowed = 1.0 - (1.0 - lost);
        text = "energy 1 - 10^" + std::to_string(std::log10(lost));
    } else {
        fixed = 1 + dice.below(count);
        rule = fixed;
        text = "rank " + std::to_string(fixed);
    }
    const Index way = dice.below(tall ? 7 : 12);
    const auto view = ConstMatrixView<T>::row_major(a.data(), a.rows(), a.cols());
    const RandomKey draw = key.derive(number, 3);
    Memory& memory = wasi::plain_memory();
    Answer answer;
    std::string what;
    const linalg::QbOptions qb_options{.tolerance = fixed > 0 ? 1e-3 : std::sqrt(allowed), .block = 1 + dice.below(40)};
    if ((way == 5 || way == 6) && fixed > 0)
        allowed = 1e-6;
    if (way == 0) {
        what = "truncated_svd";
        answer = svd_answer<T>(a, linalg::truncated_svd<EigenStorage, T>(view, {.rank = rule}, memory));
    } else if (way <= 2) {
        what = "randomized_svd";
        const auto method = dice.once_in(4) ? linalg::SketchMethod::block_krylov : linalg::SketchMethod::automatic;
        answer = svd_answer<T>(
            a, linalg::randomized_svd<EigenStorage, T>(view, {.rank = rule, .method = method}, draw, memory));
    } else if (way == 3) {
        what = "randomized_svd, operator";
        const std::size_t limit = dice.once_in(2) ? std::size_t{1} << 30 : 64;
        answer =
            svd_answer<T>(a, linalg::randomized_svd<EigenStorage, T>(
                                 Hidden<T, false>(a),
                                 {.rank = rule, .memory_limit = std::max<std::size_t>(limit, 1 << 22)}, draw, memory));
    } else if (way == 4) {
        what = "randomized_svd, operator with norm";
        answer =
            svd_answer<T>(a, linalg::randomized_svd<EigenStorage, T>(Hidden<T, true>(a), {.rank = rule}, draw, memory));
    } else if (way == 5) {
        what = "qb";
        answer = qb_answer<T>(a, linalg::qb<EigenStorage, T>(view, qb_options, draw, memory));
    } else if (way == 7) {
        what = "pivoted_qr";
        const auto f = linalg::pivoted_qr(a, {.rank = rule});
        Matrix<T> unpermuted(f.r.rows(), a.cols());
        for (Index j = 0; j < a.cols(); ++j)
            unpermuted.col(f.columns[static_cast<std::size_t>(j)]) = f.r.col(j);
        answer = product_answer<T>(a, f.q, unpermuted, f.info, f.info.rank);
    } else if (way == 8) {
        what = "interpolative";
        const auto f =
            dice.once_in(2) ? linalg::interpolative(a, {.rank = rule}) : linalg::interpolative(a, {.rank = rule}, draw);
        const Matrix<T> columns = a(Eigen::seqN(0, a.rows()), f.columns);
        answer = product_answer<T>(a, columns, f.coefficients, f.info, f.info.rank);
    } else if (way == 9) {
        what = "product_svd";
        // P Qᵀ is what is decomposed; its rounding in T, which A has, is none of the decomposition's.
        const Index inner = std::min<Index>(count, 40);
        const double half = std::sqrt(scale);
        const Matrix<T> left = (orthonormal(a.rows(), inner, key.derive(number, 4)) * s.head(inner).asDiagonal() * half)
                                   .template cast<T>();
        const Matrix<T> right = (orthonormal(a.cols(), inner, key.derive(number, 5)) * half).template cast<T>();
        const auto f = linalg::product_svd(left, right, {.rank = rule});
        answer = {f.info.status, f.info.rank, f.info.residual_bound};
        using Wide = Matrix<long double>;
        const Wide exact_product = left.template cast<long double>() * right.template cast<long double>().transpose();
        const Wide kept = f.u.template cast<long double>() * f.s.template cast<long double>().asDiagonal() *
                          f.v.template cast<long double>().transpose();
        answer.error = static_cast<double>((exact_product - kept).norm());
        answer.norm = static_cast<double>(exact_product.norm());
        fixed = std::min(fixed, inner);
    } else if (way == 10) {
        what = "pca";
        const auto f = linalg::pca(a, {.rank = rule}, draw);
        using Wide = Matrix<long double>;
        const Wide wide = a.template cast<long double>();
        const Wide centered = wide.rowwise() - wide.colwise().mean();
        const Wide kept = f.scores.template cast<long double>() * f.components.template cast<long double>().transpose();
        answer = {f.info.svd.status, f.info.svd.rank, -1.0, static_cast<double>((centered - kept).norm()),
                  static_cast<double>(centered.norm())};
    } else if (way == 11) {
        what = "cur";
        const auto f = linalg::cur(a, {.rank = rule});
        const auto size = static_cast<Index>(f.columns.size());
        answer = {f.info.status, size};
        using Wide = Matrix<long double>;
        const Wide wide = a.template cast<long double>();
        const Wide kept =
            f.c.template cast<long double>() * f.u.template cast<long double>() * f.r.template cast<long double>();
        answer.error = static_cast<double>((wide - kept).norm());
        answer.norm = static_cast<double>(wide.norm());
    } else {
        what = "qb, operator";
        answer = qb_answer<T>(a, linalg::qb<EigenStorage, T>(Hidden<T, false>(a), qb_options, draw, memory));
    }

    Tally& tally = tallies[what + (single ? ", float" : ", double")];
    ++tally.asked;
    tally.limited += answer.status == linalg::Status::rank_limit;
    tally.refused += answer.status != linalg::Status::ok && answer.status != linalg::Status::rank_limit;
    // An error far above rounding, and yet the status says that it cannot be had.
    const double rounding = static_cast<double>(wasi::epsilon<T>);
    tally.needless += answer.status == linalg::Status::rule_not_met && std::sqrt(allowed) > 1e3 * rounding;
    if (answer.bound >= 0.0 && answer.error > answer.bound * 1.001 + 32.0 * rounding * answer.norm) {
        ++tally.bound_broken;
        std::printf(
            "BOUND: case %llu, %s, %s, (%td, %td), %s, scale %.3g: error %.4g, bound %.4g, norm %.4g, rank %td\n",
            static_cast<unsigned long long>(number), what.c_str(), single ? "float" : "double", a.rows(), a.cols(),
            (name + ", " + text).c_str(), scale, answer.error, answer.bound, answer.norm, answer.rank);
    }
    if (answer.status != linalg::Status::ok)
        return;
    ++tally.ok;
    double ratio = 0.0;
    if (allowed >= 0.0) {
        ratio = answer.norm > 0.0 ? answer.error / (std::sqrt(allowed) * answer.norm) : 0.0;
    } else {
        ratio = answer.rank >= std::min(fixed, count) ? 1.0 : 2.0;
    }
    if (ratio > 1.0 + 1e-9 || !std::isfinite(answer.error)) {
        ++tally.missed;
        std::printf("MISSED: case %llu, %s, %s, (%td, %td), %s, scale %.3g: error %.4g of what is allowed, rank %td\n",
                    static_cast<unsigned long long>(number), what.c_str(), single ? "float" : "double", a.rows(),
                    a.cols(), (name + ", " + text).c_str(), scale, ratio, answer.rank);
    }
    if (ratio > tally.worst) {
        tally.worst = ratio;
        tally.worst_case = name + " (" + std::to_string(a.rows()) + ", " + std::to_string(a.cols()) + "), " + text;
    }
}

}  // namespace

int main(int argc, char** argv)
{
    const auto count = static_cast<std::uint64_t>(argc > 1 ? std::atoll(argv[1]) : 6000);
    const RandomKey key(static_cast<std::uint64_t>(argc > 2 ? std::atoll(argv[2]) : 1));
    std::map<std::string, Tally> tallies;
    for (std::uint64_t number = 0; number < count; ++number) {
        try {
            number % 2 == 0 ? one_rule<float>(number, key, tallies) : one_rule<double>(number, key, tallies);
        } catch (const std::exception& failure) {
            std::printf("THROWN: case %llu: %s\n", static_cast<unsigned long long>(number), failure.what());
            ++tallies["thrown"].missed;
        }
    }
    std::printf("%-44s %6s %6s %6s %7s %7s %9s %7s   %s\n", "decomposition", "rules", "ok", "limit", "not met",
                "missed", "needless", "bound", "worst error of what is allowed");
    Tally sum;
    for (const auto& [name, tally] : tallies) {
        std::printf("%-44s %6td %6td %6td %7td %7td %9td %7td   %.9f: %s\n", name.c_str(), tally.asked, tally.ok,
                    tally.limited, tally.refused, tally.missed, tally.needless, tally.bound_broken, tally.worst,
                    tally.worst_case.c_str());
        sum.asked += tally.asked;
        sum.missed += tally.missed;
        sum.bound_broken += tally.bound_broken;
    }
    std::printf("%td rules, %td missed with status ok; of the bounds on the error %td did not hold\n", sum.asked,
                sum.missed, sum.bound_broken);
    return sum.missed == 0 ? 0 : 1;
}
