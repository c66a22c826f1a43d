// What nearly every test includes, on top of what every source does.
#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "precompiled.hpp"
