// A basis that follows a slowly changing matrix: one cheap step each time instead of a new decomposition.
#include <Eigen/Core>
#include <cstdio>
#include <cstdlib>

#include <wasi/linalg/subspace_iteration.hpp>
#include <wasi/linalg/svd.hpp>
#include <wasi/storage/eigen/family.hpp>

int main()
{
    constexpr wasi::Index rank = 8;
    std::srand(2);
    const auto noise = [](double size) -> Eigen::MatrixXd { return size * Eigen::MatrixXd::Random(300, 60); };
    Eigen::MatrixXd a = 3.0 * Eigen::MatrixXd::Random(300, rank) * Eigen::MatrixXd::Random(rank, 60) + noise(1.0);

    Eigen::MatrixXd basis = wasi::linalg::truncated_svd(a, {.rank = rank}).v;  // exact, once
    const Eigen::MatrixXd first = basis;
    std::printf("%6s %18s %18s %18s\n", "step", "old basis", "one warm step", "exact");
    bool good = true;
    for (int step = 1; step <= 8; ++step) {
        a += noise(0.6);
        wasi::linalg::subspace_step(a, basis);  // V <- orth(Aᵀ A V)
        const auto captured = [&a](const Eigen::MatrixXd& v) { return (a * v).squaredNorm() / a.squaredNorm(); };
        const double exact = wasi::linalg::truncated_svd(a, {.rank = rank}).info.captured_energy;
        std::printf("%6d %17.2f%% %17.2f%% %17.2f%%\n", step, 100.0 * captured(first), 100.0 * captured(basis),
                    100.0 * exact);
        good = good && captured(basis) > 0.99 * exact && captured(basis) >= captured(first);
    }
    return good ? 0 : 1;
}
