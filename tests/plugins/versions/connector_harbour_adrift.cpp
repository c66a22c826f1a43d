#include "harbour_adrift_manifest.hpp"
#define HARBOUR_BUILD "adrift"
#define HARBOUR_IS_ADRIFT
#include "harbour.hpp"
