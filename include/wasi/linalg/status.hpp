#pragma once

namespace wasi::linalg {

/// How a computation ended. Bad input is an error; these are properties of good input.
enum class Status {
    ok,
    rank_limit,      ///< the rule asked for more than max_rank
    rule_not_met,    ///< the true error could not be brought to what the rule asks (a tolerance below rounding); the
                     ///< factors are sound
    not_converged,   ///< an iteration inside did not converge; the factors are not to be trusted
    rank_deficient,  ///< columns are dependent or zero; the basis is orthonormal all the same
};

}  // namespace wasi::linalg
