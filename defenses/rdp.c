/* defenses/rdp.c - privacy accounting of DP-SGD by Renyi divergences (Mironov, Talwar, Zhang 2019).
 *
 * One step releases a sum over a random subset (each photo with probability q) plus N(0, sigma^2) per unit of
 * sensitivity.  Its Renyi divergence of order a between data with and without one photo is ln A(a) / (a - 1), where A
 * is the a-th moment of the likelihood ratio 1 - q + q exp((2x - 1)/(2 sigma^2)) of x ~ N(0, sigma^2):
 *   a whole:  A = sum_{i=0..a} binom(a,i) (1-q)^(a-i) q^i exp((i^2 - i)/(2 sigma^2));
 *   else:     the ratio is expanded around its greater term, below and above z0 = sigma^2 ln(1/q - 1) + 1/2, where both
 *             are equal: two infinite series whose terms carry the Gaussian mass of their half, an erfc.
 * Everything is summed as logarithms with signs: terms span hundreds of orders of magnitude.  Divergences of steps add
 * up; epsilon for a given delta follows by the classic bound or the tighter one (Balle et al. 2020).  Plain C. */
#include "defenses/rdp.h"

#include <math.h>

#define ROOT2 1.41421356237309504880
#define PI    3.14159265358979323846

/* ln erfc(x) also where erfc has left double's range. */
static double log_erfc(double x) {
    if (x < 20) return log(erfc(x));
    double r = 1 / (x * x);
    return -x * x - log(x) - 0.5 * log(PI) + log1p(r * (-0.5 + r * (0.75 + r * (-1.875 + r * 6.5625))));
}

/* ln(e^a + e^b) and ln(e^a - e^b); the second wants a >= b. */
static double log_add(double a, double b) {
    double hi = fmax(a, b), lo = fmin(a, b);
    return lo == -INFINITY ? hi : hi + log1p(exp(lo - hi));
}
static double log_sub(double a, double b) {
    if (b == -INFINITY) return a;
    return a > b ? a + log(-expm1(b - a)) : -INFINITY;
}

static double log_moment_whole(double q, double sigma, int a) {
    double sum = -INFINITY, choose = 0; /* ln binom(a,i) */
    for (int i = 0; i <= a; i++) {
        double term = choose + i * log(q) + (a - i) * log1p(-q) + ((double)i * i - i) / (2 * sigma * sigma);
        sum = log_add(sum, term);
        choose += log(a - i) - log(i + 1);
    }
    return sum;
}

static double log_moment_between(double q, double sigma, double a) {
    enum { MOST = 10000 };
    double z0 = sigma * sigma * log(1 / q - 1) + 0.5, up = -INFINITY, down = -INFINITY; /* of either sign */
    double choose = 0;                                                                  /* ln |binom(a,i)| */
    int sign = 1;
    for (int i = 0; i < MOST; i++) {
        double j = a - i, var = 2 * sigma * sigma;
        double below = choose + i * log(q) + j * log1p(-q) + ((double)i * i - i) / var - log(2) +
                       log_erfc((i - z0) / (ROOT2 * sigma));
        double above =
            choose + j * log(q) + i * log1p(-q) + (j * j - j) / var - log(2) + log_erfc((z0 - j) / (ROOT2 * sigma));
        double both = log_add(below, above);
        if (sign > 0)
            up = log_add(up, both);
        else
            down = log_add(down, both);
        if (i > a && both < log_sub(up, down) - 36) break; /* below double's last digit */
        choose += log(fabs(j)) - log(i + 1);
        if (j < 0) sign = -sign;
    }
    return log_sub(up, down);
}

double mi_rdp_step(double q, double sigma, double order) {
    if (q <= 0) return 0;
    if (sigma <= 0) return INFINITY;
    if (q >= 1) return order / (2 * sigma * sigma);
    bool whole = order == floor(order);
    double moment = whole ? log_moment_whole(q, sigma, (int)order) : log_moment_between(q, sigma, order);
    return fmax(moment / (order - 1), 0);
}

double mi_rdp_epsilon(double q, double sigma, double steps, double delta, bool classic, double *order) {
    double best = INFINITY;
    if (order) *order = NAN;
    for (int k = 0; k < 99 + 52; k++) {
        double a = k < 99 ? (11 + k) / 10.0 : 12 + (k - 99);
        double eps = steps * mi_rdp_step(q, sigma, a);
        if (classic)
            eps += log(1 / delta) / (a - 1);
        else
            eps += log((a - 1) / a) - (log(delta) + log(a)) / (a - 1);
        if (!(eps < best)) continue;
        best = eps;
        if (order) *order = a;
    }
    return fmax(best, 0);
}
