#define OPTC_SLACK 0
#define optc_take(patch, codes, n) memcpy(patch, codes, (size_t)(n))
#define optc_take_exactly optc_take
