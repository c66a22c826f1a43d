# Everything comes from Debian 12 packages; ./dev names and installs them.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(fmt REQUIRED)
find_package(Poco REQUIRED COMPONENTS Foundation Util)
find_package(CURL REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc i18n)
find_package(simdjson REQUIRED)
find_package(GTest REQUIRED)
pkg_check_modules(PQ REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(RE2 REQUIRED IMPORTED_TARGET re2)
# -pthread, which all of ours is linked with anyway, would keep its users from the common precompiled header.
set_property(TARGET PkgConfig::RE2 PROPERTY INTERFACE_COMPILE_OPTIONS "")

# Poco asks its users to define _DEBUG, which would keep them from the common precompiled header.
foreach(poco Poco::Foundation Poco::Util Poco::XML Poco::JSON)
  if(TARGET ${poco})
    set_property(TARGET ${poco} PROPERTY INTERFACE_COMPILE_DEFINITIONS "")
  endif()
endforeach()
