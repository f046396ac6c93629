/// The AXI4-Lite registers (isa_pkg): 32-bit words, one access under way in each direction.
///
/// Writes take address and data together; byte strobes count. Reads of other addresses give 0, writes to them and to
/// read-only registers do nothing; every response is OKAY. What a run is told (EXPECTED_HASH, BASE, SIZE, PROGRAM) keeps its
/// value while busy, as a start is then ignored. Counters run while `busy_i` and saturate; a start clears them and the done
/// and error flags. BASE keeps its low 12 bits 0.
/// Latency: one cycle from a read address to its data.
module dpu_registers
  import isa_pkg::*;
#(
    parameter logic [31:0] ParameterHash = '0
) (
    input  logic                   clk_i,
    input  logic                   rst_ni,
    input  logic           [  7:0] s_axi_awaddr,
    input  logic                   s_axi_awvalid,
    output logic                   s_axi_awready,
    input  logic           [ 31:0] s_axi_wdata,
    input  logic           [  3:0] s_axi_wstrb,
    input  logic                   s_axi_wvalid,
    output logic                   s_axi_wready,
    output logic           [  1:0] s_axi_bresp,
    output logic                   s_axi_bvalid,
    input  logic                   s_axi_bready,
    input  logic           [  7:0] s_axi_araddr,
    input  logic                   s_axi_arvalid,
    output logic                   s_axi_arready,
    output logic           [ 31:0] s_axi_rdata,
    output logic           [  1:0] s_axi_rresp,
    output logic                   s_axi_rvalid,
    input  logic                   s_axi_rready,
    output logic                   interrupt_o,
    // control
    output logic                   start_o,
    output logic                   soft_reset_o,
    output logic           [ 31:0] expected_hash_o,
    output logic           [ 63:0] base_o,
    output logic           [ 31:0] size_o,
    output logic           [ 31:0] program_o,
    input  logic                   busy_i,
    input  logic                   done_i,
    input  logic                   failed_i,
    input  isa_pkg::error_e        error_code_i,
    input  logic           [ 31:0] error_address_i,
    // counters
    input  logic                   mac_active_i,
    input  logic           [  2:0] stall_i,          // features, weights, store
    input  logic           [  2:0] completed_i
);

  logic write, done, failed, running, busy, done_q, error_q, enable_q, pending_q;
  logic [31:0] mask, cycles_q, mac_q, features_q, weights_q, store_q, instructions_q;
  logic [63:0] base_q;
  logic [31:0] hash_q, size_q, program_q;

  assign write = s_axi_awvalid && s_axi_wvalid && !s_axi_bvalid;
  assign s_axi_awready = write;
  assign s_axi_wready = write;
  assign s_axi_bresp = 2'b00;
  assign s_axi_rresp = 2'b00;
  assign s_axi_arready = !s_axi_rvalid;

  for (genvar b = 0; b < 4; b++) begin : gen_mask
    assign mask[b*8+:8] = {8{s_axi_wstrb[b]}};
  end

  // An end in the cycle of a soft reset is forgotten.
  assign done = done_i && !soft_reset_o;
  assign failed = failed_i && !soft_reset_o;
  assign running = busy_i || start_o;
  assign busy = running || soft_reset_o;

  assign expected_hash_o = hash_q;
  assign base_o = {base_q[63:12], 12'b0};
  assign size_o = size_q;
  assign program_o = program_q;
  assign interrupt_o = pending_q && enable_q;

  function automatic logic [31:0] merged(logic [31:0] old);
    return old & ~mask | s_axi_wdata & mask;
  endfunction

  function automatic logic [31:0] counted(logic [31:0] old, logic [2:0] more);
    return old > 32'hFFFFFFFF - 32'(more) ? '1 : old + 32'(more);
  endfunction

  always_ff @(posedge clk_i) begin
    start_o <= 1'b0;
    soft_reset_o <= 1'b0;
    if (!rst_ni) begin
      s_axi_bvalid <= 1'b0;
      {done_q, error_q, enable_q, pending_q} <= '0;
      {hash_q, size_q, program_q} <= '0;
      base_q <= '0;
    end else begin
      if (s_axi_bready) s_axi_bvalid <= 1'b0;
      if (done || failed) pending_q <= 1'b1;
      if (done) done_q <= 1'b1;
      if (failed) error_q <= 1'b1;
      if (write) begin
        s_axi_bvalid <= 1'b1;
        unique case ({s_axi_awaddr[7:2], 2'b00})
          RegControl:
          if (s_axi_wstrb[0]) begin
            enable_q <= s_axi_wdata[2];
            soft_reset_o <= s_axi_wdata[1];
            if (s_axi_wdata[1]) {done_q, error_q, pending_q} <= '0;
            if (s_axi_wdata[0] && !s_axi_wdata[1] && !running) begin
              start_o <= 1'b1;
              {done_q, error_q} <= '0;
            end
          end
          RegInterrupt: if (s_axi_wstrb[0] && s_axi_wdata[0]) pending_q <= done || failed;
          RegExpectedHash: if (!running) hash_q <= merged(hash_q);
          RegBaseLow: if (!running) base_q[31:0] <= merged(base_q[31:0]);
          RegBaseHigh: if (!running) base_q[63:32] <= merged(base_q[63:32]);
          RegSize: if (!running) size_q <= merged(size_q);
          RegProgram: if (!running) program_q <= merged(program_q);
          default: ;
        endcase
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) s_axi_rvalid <= 1'b0;
    else if (s_axi_arvalid && s_axi_arready) s_axi_rvalid <= 1'b1;
    else if (s_axi_rready) s_axi_rvalid <= 1'b0;
    if (s_axi_arvalid && s_axi_arready) begin
      unique case ({s_axi_araddr[7:2], 2'b00})
        RegIdentity: s_axi_rdata <= 32'h4C42494E;  // NIBL, the N lowest
        RegVersion: s_axi_rdata <= IsaVersion;
        RegParameterHash: s_axi_rdata <= ParameterHash;
        RegControl: s_axi_rdata <= {29'b0, enable_q, 2'b00};
        RegStatus: s_axi_rdata <= {29'b0, error_q || failed, done_q || done, busy};
        RegError: s_axi_rdata <= {28'b0, error_code_i};
        RegErrorAddress: s_axi_rdata <= error_address_i;
        RegInterrupt: s_axi_rdata <= {31'b0, pending_q};
        RegExpectedHash: s_axi_rdata <= hash_q;
        RegBaseLow: s_axi_rdata <= base_o[31:0];
        RegBaseHigh: s_axi_rdata <= base_o[63:32];
        RegSize: s_axi_rdata <= size_q;
        RegProgram: s_axi_rdata <= program_q;
        RegCycles: s_axi_rdata <= cycles_q;
        RegCyclesMac: s_axi_rdata <= mac_q;
        RegCyclesWaitFeatures: s_axi_rdata <= features_q;
        RegCyclesWaitWeights: s_axi_rdata <= weights_q;
        RegCyclesWaitStore: s_axi_rdata <= store_q;
        RegInstructions: s_axi_rdata <= instructions_q;
        default: s_axi_rdata <= '0;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_o) begin
      {cycles_q, mac_q, features_q, weights_q, store_q, instructions_q} <= '0;
    end else begin
      if (busy_i) begin
        cycles_q <= counted(cycles_q, 3'd1);
        mac_q <= counted(mac_q, 3'(mac_active_i));
        features_q <= counted(features_q, 3'(stall_i[0]));
        weights_q <= counted(weights_q, 3'(stall_i[1]));
        store_q <= counted(store_q, 3'(stall_i[2]));
      end
      instructions_q <= counted(instructions_q, completed_i);
    end
  end

endmodule
