import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Quote } from '../quote/quote.entity.js';
import { ApplicationCancelService } from './application-cancel.service.js';
import { ApplicationController } from './application.controller.js';
import { Application } from './application.entity.js';

@Module({
  imports: [TypeOrmModule.forFeature([Application, Quote])],
  controllers: [ApplicationController],
  providers: [ApplicationCancelService],
  exports: [ApplicationCancelService],
})
export class ApplicationModule {}
