#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "wasi/storage/packing.hpp"

namespace wasi {

/// The 256 numbers that dynamic codes (storage/packing.hpp) stand for, ascending (the dynamic code of Dettmers, Lewis,
/// Shleifer, Zettlemoyer 2022, arXiv 2110.02861): 0, 1 and, for e = 0 to 6, 10^(e-6) times the middles of n equal parts
/// of [0.1, 1], n = 2^e and each with its negative, or n = 2^(e+1) where none is negative.
class DynamicCode {
public:
    /// Codes::dynamic or Codes::dynamic_positive.
    [[nodiscard]] static const DynamicCode& of(Codes codes)
    {
        static const DynamicCode both(false);
        static const DynamicCode positive(true);
        return codes == Codes::dynamic_positive ? positive : both;
    }

    [[nodiscard]] float number(std::uint8_t code) const { return numbers_[code]; }

    /// The code of the number next to `share`, which is at most 1 in size; halfway between two, the one nearer to 0.
    /// Where none is negative, 0 is for what is not positive alone: what is tiny becomes the least number above 0, so
    /// that who divides by it gets a small result rather than none.
    [[nodiscard]] std::uint8_t nearest(float share) const
    {
        if (share < 0.0F && zero_ == 0) {
            return 0;
        }
        const float size = std::min(std::abs(share), 1.0F);
        std::size_t step = first_step_[std::bit_cast<std::uint32_t>(size) >> kept_bits];
        while (step + 1 < above_ && size > halfway_[step]) {
            ++step;
        }
        return static_cast<std::uint8_t>(share < 0.0F ? zero_ - std::min(step, zero_) : zero_ + step);
    }

private:
    static constexpr unsigned kept_bits = 16;  // of the 23 of a float's mantissa; seven are looked up

    explicit DynamicCode(bool positive)
    {
        std::size_t count = 0;
        double decade = 1e-6;
        for (int e = 0; e < 7; ++e, decade *= 10.0) {
            const int parts = 1 << (positive ? e + 1 : e);
            for (int part = 0; part < parts; ++part) {
                const auto middle = static_cast<float>(decade * (0.1 + 0.9 * (part + 0.5) / parts));
                numbers_[count++] = middle;
                if (!positive) {
                    numbers_[count++] = -middle;
                }
            }
        }
        numbers_[count++] = 0.0F;
        numbers_[count++] = 1.0F;
        std::sort(numbers_.begin(), numbers_.end());
        zero_ = positive ? 0 : 127;
        above_ = numbers_.size() - zero_;
        for (std::size_t step = 0; step + 1 < above_; ++step) {
            halfway_[step] = 0.5F * (numbers_[zero_ + step] + numbers_[zero_ + step + 1]);
        }
        if (positive) {
            halfway_[0] = 0.0F;
        }
        // The step of the least number that begins with these bits.
        std::size_t step = 0;
        for (std::uint32_t bits = 0; bits < first_step_.size(); ++bits) {
            const auto least = std::bit_cast<float>(bits << kept_bits);
            while (step + 1 < above_ && least > halfway_[step]) {
                ++step;
            }
            first_step_[bits] = static_cast<std::uint8_t>(step);
        }
    }

    std::array<float, 256> numbers_{};
    std::size_t zero_ = 0;   // the code of 0
    std::size_t above_ = 0;  // codes from that of 0 on
    std::array<float, 256> halfway_{};
    std::array<std::uint8_t, (0x3f800000U >> kept_bits) + 1> first_step_{};
};

}  // namespace wasi
