// A basis that follows a slowly changing matrix: one cheap step each time instead of a new decomposition. The tracker
// tells how much the basis captures, how far it turned, and takes a fresh one when the matrix jumps.
#include <Eigen/Core>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <wasi/linalg/subspace_tracker.hpp>
#include <wasi/linalg/svd.hpp>
#include <wasi/storage/eigen/family.hpp>

int main()
{
    constexpr wasi::Index rank = 8;
    std::srand(2);
    const auto random = [](wasi::Index rows, wasi::Index cols) -> Eigen::MatrixXd {
        return Eigen::MatrixXd::Random(rows, cols);
    };
    Eigen::MatrixXd a = 3.0 * random(300, rank) * random(rank, 60) + random(300, 60);

    wasi::linalg::SubspaceTracker<double> tracker({.rank = rank, .oversampling = 2}, wasi::RandomKey(1));
    tracker.follow(a);  // the first step is a randomized SVD
    const auto first = tracker.basis_as<Eigen::MatrixXd>();
    std::printf("%6s %12s %12s %12s %10s\n", "step", "first basis", "tracker", "exact", "drift");
    bool good = true;
    for (int step = 1; step <= 10; ++step) {
        if (step == 7) {
            a = random(300, 60);  // no direction stands out any more: the basis captures much less, so it is renewed
        } else {
            a += 0.6 * random(300, 60);
        }
        const auto& info = tracker.follow(a);
        const double exact = wasi::linalg::truncated_svd(a, {.rank = rank}).info.captured_energy;
        const double old = (a * first).squaredNorm() / a.squaredNorm();
        std::printf("%6d %11.1f%% %11.1f%% %11.1f%% %10.3f%s\n", step, 100.0 * old, 100.0 * info.captured_energy,
                    100.0 * exact, info.drift, info.restarted ? "  restarted" : "");
        // Without a gap behind the rank a step comes less close to the best.
        good = good && info.captured_energy > (step < 7 ? 0.99 : 0.9) * exact && info.captured_energy >= old;
        good = good && info.restarted == (step == 7);
    }
    // How far the basis is from where it began, angle by angle.
    const Eigen::VectorXd angles = wasi::linalg::principal_angles(first, tracker.basis_as<Eigen::MatrixXd>());
    std::printf("largest principal angle to the first basis: %.1f degrees\n", angles(rank - 1) * 57.29577951308232);
    return good ? 0 : 1;
}
