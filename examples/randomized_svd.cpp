// A few singular triplets of a large matrix, without a full decomposition: by rank, and by the share of the energy they
// hold.
#include <Eigen/Core>
#include <cstdio>
#include <cstdlib>

#include <wasi/linalg/orthonormalize.hpp>
#include <wasi/linalg/randomized_svd.hpp>
#include <wasi/storage/eigen/family.hpp>

using wasi::linalg::Energy;

int main()
{
    // A (600 x 400) with the singular values 1, 1/2, 1/3, ... : random orthonormal factors around a diagonal.
    std::srand(1);
    const Eigen::MatrixXf left = wasi::linalg::orthonormalize(Eigen::MatrixXf::Random(600, 400)).q;
    const Eigen::MatrixXf right = wasi::linalg::orthonormalize(Eigen::MatrixXf::Random(400, 400)).q;
    const Eigen::VectorXf sigma = Eigen::VectorXf::LinSpaced(400, 1.0F, 400.0F).cwiseInverse();
    const Eigen::MatrixXf a = left * sigma.asDiagonal() * right.transpose();

    const wasi::RandomKey key(42);  // the same key, the same bits, for any number of threads
    const auto fixed = wasi::linalg::randomized_svd(a, {.rank = 10}, key);
    const auto enough = wasi::linalg::randomized_svd(a, {.rank = Energy{0.95}}, key);

    std::printf("%-12s %5s %10s %16s %16s\n", "rule", "rank", "energy", "relative error", "best possible");
    bool good = true;
    for (const auto* svd : {&fixed, &enough}) {
        const float error = (a - svd->u * svd->s.asDiagonal() * svd->v.transpose()).norm() / a.norm();
        const float best = sigma.tail(400 - svd->info.rank).norm() / sigma.norm();
        std::printf("%-12s %5td %9.2f%% %16.4f %16.4f\n", svd == &fixed ? "rank 10" : "energy 95 %", svd->info.rank,
                    100.0 * svd->info.captured_energy, static_cast<double>(error), static_cast<double>(best));
        good = good && error <= 1.05F * best && svd->info.status == wasi::linalg::Status::ok;
    }
    return good && fixed.info.rank == 10 && enough.info.captured_energy >= 0.95 ? 0 : 1;
}
