#include <cmath>

#include <spectrum.hpp>

int program();  // program.cpp's main

int main()
{
    const Eigen::VectorXf s = spectrum(Eigen::MatrixXf::Identity(20, 20) * 3.0F, 2);
    return s.size() == 2 && std::abs(s(1) - 3.0F) < 1e-4F ? program() : 1;
}
