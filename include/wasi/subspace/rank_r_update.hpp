#pragma once
#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <utility>

#include "wasi/core/parallel.hpp"
#include "wasi/linalg/factored.hpp"
#include "wasi/linalg/orthonormalize.hpp"
#include "wasi/subspace/outside_part.hpp"
#include "wasi/subspace/right_gram.hpp"

namespace wasi::subspace {

namespace detail {

/// R becomes R - (shrink R - left right), left (K,m), right (m,I), by blocks of rows that stay in cache. The changes
/// are added up before R is touched: 1 - shrink would round a tiny shrink away.
template <class S, Scalar T>
void change_right(MatrixView<T> r, T shrink, ConstMatrixView<T> left, ConstMatrixView<T> right, Memory& memory)
{
    constexpr Index height = 48;
    Tensor<T> change = workspace<T>(memory, r.rows, r.cols);
    parallel_for((r.rows + height - 1) / height, [&](Index piece) {
        const Index first = piece * height;
        const Index rows = std::min(height, r.rows - first);
        const auto part = change.matrix().row_block(first, rows);
        S::add_scaled(part, T(0), shrink, r.row_block(first, rows));
        S::multiply(part, T(-1), left.row_block(first, rows), right, T(1), memory);
        S::add_scaled(r.row_block(first, rows), T(1), T(-1), part);
    });
}

template <class S>
[[nodiscard]] double trace(ConstMatrixView<double> a, Memory& memory)
{
    Tensor<double> ones = workspace<double>(memory, a.rows, 1);
    S::fill(ones.matrix(), 1.0);
    return S::dot(a.diagonal(), std::as_const(ones).matrix());
}

/// The rotation of L towards the outside part, as the thin SVD E = U diag(s) Xᵀ; e columns.
struct Tilt {
    Tensor<double> x;       // (K,e)
    Tensor<double> x_less;  // X diag(c - 1)  (K,e)
    Tensor<double> u_tilt;  // U diag(n)      (k,e)
};

/// c = 1/h and n = s/h with h = sqrt(1 + s²), for the transposed E (K,k); c - 1 = -s²/(h (1 + h)) does not cancel.
/// False when the SVD does not converge.
template <class S>
[[nodiscard]] bool make_tilt(Tilt& tilt, ConstMatrixView<double> e_transposed, Memory& memory)
{
    const Index e = std::min(e_transposed.rows, e_transposed.cols);
    tilt.x = workspace<double>(memory, e_transposed.rows, e);
    tilt.x_less = workspace<double>(memory, e_transposed.rows, e);
    tilt.u_tilt = workspace<double>(memory, e_transposed.cols, e);
    Tensor<double> u = workspace<double>(memory, e_transposed.cols, e);
    Tensor<double> s = host_row<double>(memory, e);
    Tensor<double> c_less = host_row<double>(memory, e);
    if (!S::svd(e_transposed, tilt.x.matrix(), s.span(), u.matrix(), memory)) {
        return false;
    }
    for (Index j = 0; j < e; ++j) {
        double& value = s.data()[j];
        const double h = std::hypot(1.0, value);
        c_less.data()[j] = -(value / h) * (value / (1.0 + h));
        value /= h;
    }
    scale_columns<S, double>(tilt.x_less.matrix(), std::as_const(tilt.x).matrix(), std::as_const(c_less).span());
    scale_columns<S, double>(tilt.u_tilt.matrix(), std::as_const(u).matrix(), std::as_const(s).span());
    return true;
}

}  // namespace detail

/// One warm step L R <- the projection of W+ = (1 - shrink) L R - step P Qᵀ on its next subspace, in O((O+I) K r): the
/// same subspace that the plain form reaches (WeightSubspace::update), since for P = L C + P^ T, P^ outside span(L),
///
///     W+ = L A + P^ B,   A = R - (shrink R + step C Qᵀ),   B = -step T Qᵀ
///     W+ W+ᵀ L = (L + P^ E) A Aᵀ,   E = B Aᵀ (A Aᵀ)⁻¹ = U diag(s) Xᵀ
///     L+ = L + [(L X)(c - 1) + (P^ U) n] Xᵀ,   R+ = L+ᵀ W+ = A + X [(c - 1) (Xᵀ A) + n (Uᵀ B)]
///
/// with c = 1/sqrt(1 + s²), n = s c. Whatever E is, L+ is orthonormal and R+ belongs to it; an inexact E (A Aᵀ is
/// damped by what is uncertain of it) costs only optimality. L (O,K), R (K,I) change in place; `gram` is R Rᵀ before
/// and after, at a scale of its own: c, a and T below are too, so that squares stay in double at every size of W.
/// Letters: O outputs, I inputs, K rank, r columns of P (O,r) and Q (I,r), k of P^. What is small (K x K,
/// K x r) is computed in double. Q is orthonormalised first where it is not orthonormal.
///
/// Returns false, with nothing changed but `gram` perhaps computed anew, where the plain form is the safer one: r > I,
/// A Aᵀ not positive definite, an inner decomposition that fails, numbers that are not finite. Cost:
/// rank_r_update_flops; workspace (r + 2k) O + K I + 2 K² doubles. Shapes are the caller's business. Source: ours; the
/// retraction is that of a geodesic on the Grassmann manifold by a thin SVD (Edelman, Arias and Smith 1998,
/// theorem 2.3), of another tangent.
template <class S, Scalar T>
requires StorageFor<S, T> && StorageFor<S, double>
[[nodiscard]] bool rank_r_update(MatrixView<T> left, MatrixView<T> right, RightGram<T, S>& gram, T step, T shrink,
                                 const linalg::Factored<T>& gradient, Memory& memory)
{
    const Index r = gradient.rank();
    const Index rank = left.cols;
    if (r == 0 || r > gradient.q.rows) {
        return false;
    }
    if (!gradient.q_orthonormal) {
        // Q = Q' T: the same product with P Tᵀ and Q'.
        Tensor<T> q = workspace<T>(memory, gradient.q.rows, r);
        Tensor<T> turn = workspace<T>(memory, r, r);
        Tensor<T> p = workspace<T>(memory, gradient.p.rows, r);
        S::copy(q.matrix(), gradient.q);
        linalg::orthonormalize_columns<S, T>(q.matrix(), memory);
        const auto basis = std::as_const(q).matrix();
        S::multiply(turn.matrix(), T(1), basis.transposed(), gradient.q, T(0), memory);
        S::multiply(p.matrix(), T(1), gradient.p, std::as_const(turn).matrix().transposed(), T(0), memory);
        return rank_r_update<S, T>(left, right, gram, step, shrink, {std::as_const(p).matrix(), basis, true}, memory);
    }
    const double eta = static_cast<double>(step);
    const double alpha = 1.0 - static_cast<double>(shrink);
    if (!gram.known() || gram.age() >= RightGram<T, S>::lifetime) {
        gram.compute(right);
    }
    const int shift = gram.shift();
    const auto scale = [shift](Tensor<double>& a, int k) {
        if (shift != 0) {
            linalg::detail::scale_to<S, double>(a.matrix(), std::as_const(a).matrix(), k);
        }
    };

    Tensor<T> inside = workspace<T>(memory, rank, r);  // C = LᵀP
    S::multiply(inside.matrix(), T(1), left.transposed(), gradient.p, T(0), memory);
    Tensor<double> c = detail::widened<S, T>(std::as_const(inside).matrix(), memory);
    scale(c, shift);
    Tensor<double> aq = workspace<double>(memory, rank, r);    // A Q = alpha R Q - eta C
    Tensor<double> half = workspace<double>(memory, rank, r);  // eta²/2 C - alpha eta R Q
    {
        Tensor<T> rq = workspace<T>(memory, rank, r);
        S::multiply(rq.matrix(), T(1), right, gradient.q, T(0), memory);
        S::convert(aq.matrix(), std::as_const(rq).matrix());
        scale(aq, shift);
    }
    S::copy(half.matrix(), std::as_const(aq).matrix());
    S::add_scaled(half.matrix(), -alpha * eta, 0.5 * eta * eta, std::as_const(c).matrix());
    S::add_scaled(aq.matrix(), alpha, -eta, std::as_const(c).matrix());
    std::optional<detail::OutsidePart<T>> found =
        detail::outside_part<S, T>(left, gradient.p, std::as_const(inside).matrix(), memory);
    if (!found) {
        return false;
    }
    const detail::OutsidePart<T>& outside = *found;
    const Index k = outside.rank;
    if (k > 0) {
        scale(found->triangle, shift);
    }

    // A Aᵀ = alpha² M - alpha eta (a Cᵀ + C aᵀ) + eta² C Cᵀ with a = R Q.
    Tensor<double> square = workspace<double>(memory, rank, rank);
    Tensor<double> e = workspace<double>(memory, rank, std::max<Index>(k, 1));     // Eᵀ
    Tensor<double> onto = workspace<double>(memory, rank, std::max<Index>(k, 1));  // A Bᵀ = -eta A Q Tᵀ
    if (k > 0) {
        S::multiply(onto.matrix(), -eta, std::as_const(aq).matrix(), outside.triangle.matrix().transposed(), 0.0,
                    memory);
    }
    for (;;) {
        S::copy(square.matrix(), gram.matrix());
        detail::add_symmetric_pair<S>(square.matrix(), alpha * alpha, std::as_const(c).matrix(),
                                      std::as_const(half).matrix(), memory);
        if (k == 0) {
            break;
        }
        Tensor<double> damped = workspace<double>(memory, rank, rank);
        S::copy(damped.matrix(), std::as_const(square).matrix());
        const double trace = detail::trace<S>(std::as_const(square).matrix(), memory);
        S::add_constant(damped.matrix().diagonal(), gram.uncertainty(trace));
        S::copy(e.matrix(), std::as_const(onto).matrix());
        if (S::solve_spd(damped.matrix(), e.matrix(), memory) && S::all_finite(std::as_const(e).matrix())) {
            break;
        }
        if (gram.age() == 0) {
            return false;
        }
        gram.compute(right, shift);
    }
    if (!S::all_finite(std::as_const(square).matrix())) {
        return false;
    }
    if (k == 0) {  // P inside span(L): L stands still
        Tensor<T> coefficients = workspace<T>(memory, rank, r);
        S::add_scaled(coefficients.matrix(), T(0), -step, std::as_const(inside).matrix());
        detail::change_right<S, T>(right, shrink, std::as_const(coefficients).matrix(), gradient.q.transposed(),
                                   memory);
        gram.advance(std::as_const(square).matrix());
        return true;
    }
    detail::Tilt tilt;
    if (!detail::make_tilt<S>(tilt, std::as_const(e).matrix(), memory)) {
        return false;
    }
    const auto x = std::as_const(tilt.x).matrix();
    const auto x_less = std::as_const(tilt.x_less).matrix();
    const auto u_tilt = std::as_const(tilt.u_tilt).matrix();
    const auto triangle = outside.triangle.matrix();
    const Index width = x.cols;

    // R+ = A + X H with H = (c-1) Xᵀ A + n Uᵀ B, so M+ = A Aᵀ + X V ᵀ + V Xᵀ with V = A Hᵀ + X (H Hᵀ) / 2.
    Tensor<double> v = workspace<double>(memory, rank, width);
    Tensor<double> hh = workspace<double>(memory, width, width);
    {
        Tensor<double> hb = workspace<double>(memory, width, k);  // H Bᵀ
        Tensor<double> tt = workspace<double>(memory, k, k);      // B Bᵀ = eta² T Tᵀ
        S::multiply(v.matrix(), 1.0, std::as_const(square).matrix(), x_less, 0.0, memory);
        S::multiply(v.matrix(), 1.0, std::as_const(onto).matrix(), u_tilt, 1.0, memory);
        S::multiply(tt.matrix(), eta * eta, triangle, triangle.transposed(), 0.0, memory);
        S::multiply(hb.matrix(), 1.0, x_less.transposed(), std::as_const(onto).matrix(), 0.0, memory);
        S::multiply(hb.matrix(), 1.0, u_tilt.transposed(), std::as_const(tt).matrix(), 1.0, memory);
        S::multiply(hh.matrix(), 1.0, std::as_const(v).matrix().transposed(), x_less, 0.0, memory);
        S::multiply(hh.matrix(), 1.0, std::as_const(hb).matrix(), u_tilt, 1.0, memory);
        S::multiply(v.matrix(), 0.5, x, std::as_const(hh).matrix(), 1.0, memory);
    }
    detail::add_symmetric_pair<S>(square.matrix(), 1.0, x, std::as_const(v).matrix(), memory);
    if (!S::all_finite(std::as_const(square).matrix())) {
        return false;
    }

    // L+ = L + F Xᵀ with F = L X (c-1) + P^ U n.
    const Tensor<T> narrow_x = detail::narrowed<S, T>(x, memory);
    const Tensor<T> narrow_less = detail::narrowed<S, T>(x_less, memory);
    const Tensor<T> narrow_tilt = detail::narrowed<S, T>(u_tilt, memory);
    Tensor<T> moved = workspace<T>(memory, left.rows, width);
    S::multiply(moved.matrix(), T(1), left, narrow_less.matrix(), T(0), memory);
    S::multiply(moved.matrix(), T(1), outside.basis.matrix(), narrow_tilt.matrix(), T(1), memory);
    // H = alpha (c-1) Xᵀ R + J Qᵀ, J = -eta [(c-1) Xᵀ C + n Uᵀ T]; R+ = R - (shrink R - [X, -eta C] [H; Qᵀ]).
    Tensor<double> j = workspace<double>(memory, width, r);
    S::multiply(j.matrix(), -eta, x_less.transposed(), std::as_const(c).matrix(), 0.0, memory);
    S::multiply(j.matrix(), -eta, u_tilt.transposed(), triangle, 1.0, memory);
    scale(j, -shift);
    const Tensor<T> narrow_j = detail::narrowed<S, T>(std::as_const(j).matrix(), memory);
    Tensor<T> coefficients = workspace<T>(memory, rank, width + r);
    S::copy(coefficients.matrix().col_block(0, width), narrow_x.matrix());
    S::add_scaled(coefficients.matrix().col_block(width, r), T(0), -step, std::as_const(inside).matrix());
    Tensor<T> rows = workspace<T>(memory, width + r, right.cols);
    const auto h = rows.matrix().row_block(0, width);
    S::multiply(h, static_cast<T>(alpha), narrow_less.matrix().transposed(), right, T(0), memory);
    S::multiply(h, T(1), narrow_j.matrix(), gradient.q.transposed(), T(1), memory);
    S::copy(rows.matrix().row_block(width, r), gradient.q.transposed());

    detail::change_right<S, T>(right, shrink, std::as_const(coefficients).matrix(), std::as_const(rows).matrix(),
                               memory);
    S::multiply(left, T(1), std::as_const(moved).matrix(), narrow_x.matrix().transposed(), T(1), memory);
    gram.advance(std::as_const(square).matrix());
    return true;
}

}  // namespace wasi::subspace
