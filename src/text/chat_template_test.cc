#include <gmock/gmock.h>
#include "text/test_data.h"
