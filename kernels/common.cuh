// common.cuh: the words that every kernel uses. No system headers, so that NVRTC and a host compiler both take it.
#pragma once

typedef unsigned int u32;
typedef unsigned long long u64;
