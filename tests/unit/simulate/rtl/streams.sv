// Small AXI4-Stream designs, good ones and broken ones, for the tests of the simulator.

module Fifo #(
    parameter int Bits = 8,
    parameter int Depth = 4
) (
    input ap_clk,
    input ap_rst_n,
    input [Bits-1:0] in_TDATA,
    input in_TVALID,
    output in_TREADY,
    output [Bits-1:0] out_TDATA,
    output out_TVALID,
    input out_TREADY
);
  logic [Bits-1:0] memory[Depth];
  logic [$clog2(Depth):0] written, read, filled;
  assign filled = written - read;
  assign in_TREADY = filled != Depth;
  assign out_TVALID = written != read;
  assign out_TDATA  = memory[read[$clog2(Depth)-1:0]];
  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) begin
      written <= 0;
      read <= 0;
    end else begin
      if (in_TVALID && in_TREADY) begin
        memory[written[$clog2(Depth)-1:0]] <= in_TDATA;
        written <= written + 1;
      end
      if (out_TVALID && out_TREADY) read <= read + 1;
    end
  end
endmodule

// One FIFO for each kind of C++ type that Verilator stores a port in.
module Widths (
    input ap_clk,
    input ap_rst_n,
    `define LANE(BITS) \
    input [BITS-1:0] in``BITS``_TDATA, \
    input in``BITS``_TVALID, \
    output in``BITS``_TREADY, \
    output [BITS-1:0] out``BITS``_TDATA, \
    output out``BITS``_TVALID, \
    input out``BITS``_TREADY,
    `LANE(8)
    `LANE(16)
    `LANE(24)
    `LANE(32)
    `LANE(40)
    `LANE(64)
    `LANE(72)
    `LANE(520)
    output [4:0] probe
);
  `define FIFO(BITS) \
  Fifo #(.Bits(BITS)) fifo``BITS ( \
      .in_TDATA(in``BITS``_TDATA), .in_TVALID(in``BITS``_TVALID), .in_TREADY(in``BITS``_TREADY), \
      .out_TDATA(out``BITS``_TDATA), .out_TVALID(out``BITS``_TVALID), .out_TREADY(out``BITS``_TREADY), .* \
  );
  `FIFO(8)
  `FIFO(16)
  `FIFO(24)
  `FIFO(32)
  `FIFO(40)
  `FIFO(64)
  `FIFO(72)
  `FIFO(520)
  assign probe = fifo520.written + 5'd8;
endmodule

// Four 8-bit beats become one of 32 bits, the first in the low byte.
module Widener (
    input ap_clk,
    input ap_rst_n,
    input [7:0] in_TDATA,
    input in_TVALID,
    output in_TREADY,
    output [31:0] out_TDATA,
    output out_TVALID,
    input out_TREADY
);
  logic [31:0] word;
  logic [ 2:0] count;
  assign out_TDATA  = word;
  assign out_TVALID = count == 4;
  assign in_TREADY  = !out_TVALID || out_TREADY;
  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) count <= 0;
    else if (in_TVALID && in_TREADY) begin
      word  <= {in_TDATA, word[31:8]};
      count <= out_TVALID ? 1 : count + 1;
    end else if (out_TVALID && out_TREADY) count <= 0;
  end
endmodule

// What no design should do; each port's fault is independent of the others.
module Faulty #(
    parameter int Level = 1
) (
    input ap_clk,
    input ap_rst_n,
    `define FAULT(NAME) \
    input [7:0] NAME``_in_TDATA, \
    input NAME``_in_TVALID, \
    output NAME``_in_TREADY, \
    output [7:0] NAME``_TDATA, \
    output NAME``_TVALID, \
    input NAME``_TREADY
    `FAULT(drop),
    `FAULT(change),
    `FAULT(twice),
    `FAULT(swallow),
    `FAULT(stop)
);
  if (Level < 1) $fatal(1, "Level is %0d, expected at least 1.", Level);

  logic [7:0] cycle;
  always_ff @(posedge ap_clk) cycle <= ap_rst_n ? cycle + 1 : 0;

  // Offered in odd cycles only.
  assign drop_TDATA = drop_in_TDATA;
  assign drop_TVALID = drop_in_TVALID && cycle[0];
  assign drop_in_TREADY = drop_TREADY && cycle[0];

  assign change_TDATA = cycle;
  assign change_TVALID = change_in_TVALID;
  assign change_in_TREADY = change_TREADY;

  logic again;
  always_ff @(posedge ap_clk) if (!ap_rst_n) again <= 0; else if (twice_TVALID && twice_TREADY) again <= !again;
  assign twice_TDATA = twice_in_TDATA;
  assign twice_TVALID = twice_in_TVALID;
  assign twice_in_TREADY = twice_TREADY && again;

  // Takes four beats, gives two.
  logic [2:0] taken;
  always_ff @(posedge ap_clk) if (!ap_rst_n) taken <= 0; else if (swallow_in_TVALID && swallow_in_TREADY) taken <= taken + 1;
  assign swallow_TDATA = swallow_in_TDATA;
  assign swallow_TVALID = swallow_in_TVALID && taken < 2;
  assign swallow_in_TREADY = taken < 2 ? swallow_TREADY : taken < 4;

  assign stop_TDATA = stop_in_TDATA;
  assign stop_TVALID = stop_in_TVALID;
  assign stop_in_TREADY = stop_TREADY;
  always_ff @(posedge ap_clk) if (stop_in_TVALID && stop_in_TDATA == 9) $error("a nine came");
endmodule
