/* Tiles of up to eight pixels and sixteen outputs. */
#define OPTC_TILE 16
#define OPTC_EACH_1(M) M(0)
#define OPTC_EACH_2(M) M(0) M(1)
#define OPTC_EACH_4(M) OPTC_EACH_2(M) M(2) M(3)
#define OPTC_EACH_8(M) OPTC_EACH_4(M) M(4) M(5) M(6) M(7)
#define OPTC_BEGIN(i) optc_partial s##i = optc_begin(bias);
#define OPTC_END(i) optc_store_lanes(finish, &end, optc_total(s##i), index + (i) * outputs, other, result);
#ifdef OPTC_PAIRS
#define OPTC_BEGIN_PAIR(i) optc_partial s##i = optc_begin(bias), t##i = optc_begin(more);
#define OPTC_END_PAIR(i) \
  optc_store_lanes(finish, &end, optc_total(t##i), index + OPTC_LANES + (i) * outputs, other, result);
#endif
