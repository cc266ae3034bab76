#pragma once
// The arithmetic of one cell, the same for every backend and rank count: a fixed order of operations, and no
// contraction into fused multiply-adds (the build says -ffp-contract=off).

#ifdef GRAY_SCOTT_KOKKOS
#include <Kokkos_Core.hpp>
#define GRAY_SCOTT_FUNCTION KOKKOS_INLINE_FUNCTION
#else
#define GRAY_SCOTT_FUNCTION inline
#endif

namespace gray_scott {

/// The model's numbers in the form the stencil uses.
struct Coefficients {
  double u_diffusion;  ///< diffusion_u / spacing^2
  double v_diffusion;
  double feed;
  double removal;  ///< feed + kill
  double dt;
};

/// Sum of the six neighbours less six times the centre.
GRAY_SCOTT_FUNCTION double laplacian(double centre, double left, double right, double front, double back,
                                     double below, double above) {
  return (((left + right) + (front + back)) + (below + above)) - 6.0 * centre;
}

GRAY_SCOTT_FUNCTION double next_u(double u, double v, double lap, const Coefficients& c) {
  return u + c.dt * ((c.u_diffusion * lap - u * v * v) + c.feed * (1.0 - u));
}

GRAY_SCOTT_FUNCTION double next_v(double u, double v, double lap, const Coefficients& c) {
  return v + c.dt * ((c.v_diffusion * lap + u * v * v) - c.removal * v);
}

}  // namespace gray_scott
