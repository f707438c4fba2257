// A matrix by its own columns and rows, a kernel matrix by a few products, and the SVD of a product that is never
// formed.
#include <Eigen/Core>
#include <cmath>
#include <cstdio>

#include <wasi/linalg/cur.hpp>
#include <wasi/linalg/interpolative.hpp>
#include <wasi/linalg/nystrom.hpp>
#include <wasi/linalg/pivoted_qr.hpp>
#include <wasi/linalg/product_svd.hpp>

using wasi::linalg::Tolerance;

int main()
{
    // exp(-(x - y)²) between points of two intervals: smooth, so of low numerical rank.
    const auto kernel = [](const Eigen::VectorXd& x, const Eigen::VectorXd& y) {
        return Eigen::MatrixXd::NullaryExpr(x.size(), y.size(), [&](Eigen::Index i, Eigen::Index j) {
            return std::exp(-(x(i) - y(j)) * (x(i) - y(j)));
        });
    };
    const Eigen::VectorXd x = Eigen::VectorXd::LinSpaced(300, 0.0, 4.0);
    const Eigen::VectorXd y = Eigen::VectorXd::LinSpaced(200, 1.0, 5.0);
    const Eigen::MatrixXd a = kernel(x, y);

    const auto qr = wasi::linalg::pivoted_qr(a, {.rank = Tolerance{1e-10}});
    const auto id = wasi::linalg::interpolative(a, {.rank = Tolerance{1e-10}});
    const auto cur = wasi::linalg::cur(a, {.rank = Tolerance{1e-6}});
    const wasi::RandomKey key(1);
    const auto psd = wasi::linalg::nystrom(kernel(x, x), {.rank = Tolerance{1e-10}}, key);
    const auto svd = wasi::linalg::product_svd(qr.q, qr.r.transpose(), {.rank = Tolerance{1e-6}});

    std::printf("%-14s %5s %15s\n", "", "rank", "relative error");
    std::printf("%-14s %5td %15.1e\n", "pivoted QR", qr.info.rank, qr.info.relative_error);
    std::printf("%-14s %5td %15.1e\n", "interpolative", id.info.rank, id.info.relative_error);
    std::printf("%-14s %5zu %15.1e\n", "CUR", cur.columns.size(), cur.info.relative_error);
    std::printf("%-14s %5td %15.1e\n", "Nystrom", psd.info.rank, psd.info.relative_error);
    std::printf("%-14s %5td %15.1e\n", "SVD of Q R", svd.info.rank, svd.info.residual_estimate / a.norm());

    const double error = (a - a(Eigen::seqN(0, a.rows()), id.columns) * id.coefficients).norm() / a.norm();
    const bool good = error <= 1e-10 && (a - cur.c * cur.u * cur.r).norm() <= 1e-6 * a.norm() &&
                      psd.info.relative_error <= 1e-10 && qr.info.relative_error <= 1e-10;
    return good && svd.info.rank < qr.info.rank ? 0 : 1;
}
