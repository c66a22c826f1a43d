#include "harbour_build_manifest.hpp"
#define HARBOUR_BUILD "1.1.0+b2"
#define HARBOUR_HAS_PRODUCTS
#include "harbour.hpp"
