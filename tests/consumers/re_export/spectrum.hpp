#pragma once
#include <Eigen/Core>

/// The leading singular values of a matrix.
Eigen::VectorXf spectrum(const Eigen::MatrixXf& a, Eigen::Index count);
