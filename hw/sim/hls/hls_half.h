// The 16-bit float that Vitis' ap_int.h declares: templates of FINN and finn-hlslib name it, integer layers do not
// compute with it.
#pragma once

struct half {
    unsigned short bits;
};
