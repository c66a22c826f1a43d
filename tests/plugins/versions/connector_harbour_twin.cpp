#include "harbour_twin_manifest.hpp"
#define HARBOUR_BUILD "twin"
#define HARBOUR_HAS_PRODUCTS
#include "harbour.hpp"
