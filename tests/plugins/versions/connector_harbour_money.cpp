#include "harbour_money_manifest.hpp"
#define HARBOUR_BUILD "1.3.0"
#define HARBOUR_HAS_PRODUCTS
#include "harbour.hpp"
