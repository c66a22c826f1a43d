#include "harbour_110_manifest.hpp"
#define HARBOUR_BUILD "1.1.0"
#define HARBOUR_HAS_PRODUCTS
#include "harbour.hpp"
