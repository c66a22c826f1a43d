#include "harbour_otherwise_manifest.hpp"
#define HARBOUR_BUILD "1.4.0"
#define HARBOUR_HAS_PRODUCTS
#include "harbour.hpp"
